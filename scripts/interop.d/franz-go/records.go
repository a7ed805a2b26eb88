package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func recordCases() []testCase {
	cases := []testCase{}
	codecs := []struct {
		name  string
		codec kgo.CompressionCodec
	}{
		{"none", kgo.NoCompression()}, {"gzip", kgo.GzipCompression()}, {"snappy", kgo.SnappyCompression()},
		{"lz4", kgo.Lz4Compression()}, {"zstd", kgo.ZstdCompression()},
	}
	for _, each := range codecs {
		cases = append(cases, testCase{
			"idempotent producer, codec " + each.name + ": order and content",
			func(ctx context.Context) error { return codecRoundTrip(ctx, each.name, each.codec) },
		})
	}
	return append(cases,
		testCase{"acks 0 and 1 without idempotence", weakAcks},
		testCase{"keys, headers, null values and timestamps survive", wholeRecord},
		testCase{"a record above max.message.bytes is refused", tooLarge},
		testCase{"many partitions at once: all arrive, each in order", manyPartitions},
		testCase{"a consumer group commits, stops and resumes", resume},
		testCase{"two members, cooperative-sticky: shared, then handed over", handOver},
	)
}

func produce(ctx context.Context, opts []kgo.Opt, records ...*kgo.Record) (kgo.ProduceResults, error) {
	cl, err := client(opts...)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	results := cl.ProduceSync(ctx, records...)
	return results, results.FirstErr()
}

// read polls until count records are there.
func read(ctx context.Context, cl *kgo.Client, count int) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < count {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return got, fmt.Errorf("after %d of %d records: %w", len(got), count, err)
		}
		got = append(got, fetches.Records()...)
	}
	return got, nil
}

func readTopic(ctx context.Context, topic string, count int) ([]*kgo.Record, error) {
	cl, err := client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return read(ctx, cl, count)
}

func values(records []*kgo.Record) []string {
	var out []string
	for _, record := range records {
		out = append(out, string(record.Value))
	}
	return out
}

func numbers(topic string, from, to int) []*kgo.Record {
	var out []*kgo.Record
	for number := from; number < to; number++ {
		out = append(out, &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(number))})
	}
	return out
}

func codecRoundTrip(ctx context.Context, name string, codec kgo.CompressionCodec) error {
	topic := named("codec-" + name)
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	var records []*kgo.Record
	for number := range 3000 {
		value := fmt.Sprint(number, " ", strings.Repeat("g", number%200))
		records = append(records, &kgo.Record{Topic: topic, Value: []byte(value)})
	}
	results, err := produce(ctx, []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(5 * time.Millisecond)}, records...)
	if err != nil {
		return err
	}
	for at, result := range results {
		if result.Record.Offset != int64(at) {
			return fmt.Errorf("record %d got offset %d", at, result.Record.Offset)
		}
	}
	got, err := readTopic(ctx, topic, len(records))
	if err != nil {
		return err
	}
	return expect("values", values(got), values(records))
}

func weakAcks(ctx context.Context) error {
	topic := named("acks")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	for _, acks := range []kgo.Acks{kgo.NoAck(), kgo.LeaderAck()} {
		if _, err := produce(ctx, []kgo.Opt{kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()}, numbers(topic, 0, 10)...); err != nil {
			return err
		}
	}
	_, err := readTopic(ctx, topic, 20)
	return err
}

func wholeRecord(ctx context.Context) error {
	topic := named("whole")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	at := time.UnixMilli(1_600_000_000_123)
	headers := []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte{}}, {Key: "none"}}
	_, err := produce(ctx, nil,
		&kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v"), Headers: headers, Timestamp: at},
		&kgo.Record{Topic: topic, Key: []byte("gone"), Timestamp: at.Add(time.Millisecond)})
	if err != nil {
		return err
	}
	got, err := readTopic(ctx, topic, 2)
	if err != nil {
		return err
	}
	return all(
		expect("first", fmt.Sprintf("%s=%s", got[0].Key, got[0].Value), "k=v"),
		expect("headers", got[0].Headers, headers),
		expect("timestamp", got[0].Timestamp.UnixMilli(), at.UnixMilli()),
		expect("null value", got[1].Value == nil, true),
		expect("second key", string(got[1].Key), "gone"),
	)
}

func tooLarge(ctx context.Context) error {
	topic, limit := named("large"), "2000"
	if err := create(ctx, topic, 1, map[string]*string{"max.message.bytes": &limit}); err != nil {
		return err
	}
	big := &kgo.Record{Topic: topic, Value: make([]byte, 5000)}
	_, err := produce(ctx, []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}, big)
	if !errors.Is(err, kerr.MessageTooLarge) {
		return fmt.Errorf("expected MESSAGE_TOO_LARGE, got %v", err)
	}
	return nil
}

func manyPartitions(ctx context.Context) error {
	topic := named("many")
	const partitions, each = 40, 250
	if err := create(ctx, topic, partitions, nil); err != nil {
		return err
	}
	var records []*kgo.Record
	for number := range each {
		for partition := range int32(partitions) {
			records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(fmt.Sprint(number))})
		}
	}
	if _, err := produce(ctx, []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, records...); err != nil {
		return err
	}
	got, err := readTopic(ctx, topic, partitions*each)
	if err != nil {
		return err
	}
	next := map[int32]int{}
	for _, record := range got {
		if string(record.Value) != fmt.Sprint(next[record.Partition]) || record.Offset != int64(next[record.Partition]) {
			return fmt.Errorf("partition %d offset %d holds %s", record.Partition, record.Offset, record.Value)
		}
		next[record.Partition]++
	}
	return nil
}

func member(group, topic string, opts ...kgo.Opt) (*kgo.Client, error) {
	return client(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(300*time.Millisecond))...)
}

func resume(ctx context.Context) error {
	topic, group := named("resume"), named("resume")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	if _, err := produce(ctx, nil, numbers(topic, 0, 10)...); err != nil {
		return err
	}
	first, err := member(group, topic)
	if err != nil {
		return err
	}
	got, err := read(ctx, first, 10)
	if err == nil {
		err = first.CommitRecords(ctx, got[3])
	}
	first.Close()
	if err != nil {
		return err
	}
	second, err := member(group, topic)
	if err != nil {
		return err
	}
	defer second.Close()
	got, err = read(ctx, second, 6)
	if err != nil {
		return err
	}
	return expect("after the commit", values(got), []string{"4", "5", "6", "7", "8", "9"})
}

// assignment follows what a member owns through its callbacks.
type assignment struct {
	sync.Mutex
	owned map[int32]bool
}

func (a *assignment) change(add bool) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		a.Lock()
		defer a.Unlock()
		for _, partitions := range topics {
			for _, partition := range partitions {
				if add {
					a.owned[partition] = true
				} else {
					delete(a.owned, partition)
				}
			}
		}
	}
}

func (a *assignment) count() int {
	a.Lock()
	defer a.Unlock()
	return len(a.owned)
}

func handOver(ctx context.Context) error {
	topic, group := named("pair"), named("pair")
	if err := create(ctx, topic, 4, nil); err != nil {
		return err
	}
	var clients [2]*kgo.Client
	var owned [2]*assignment
	for at := range clients {
		mine := &assignment{owned: map[int32]bool{}}
		cl, err := member(group, topic, kgo.OnPartitionsAssigned(mine.change(true)),
			kgo.OnPartitionsRevoked(mine.change(false)), kgo.OnPartitionsLost(mine.change(false)))
		if err != nil {
			return err
		}
		defer cl.Close()
		clients[at], owned[at] = cl, mine
	}
	if err := until(ctx, "two partitions each", func() bool { return owned[0].count() == 2 && owned[1].count() == 2 }); err != nil {
		return err
	}
	clients[1].Close()
	return until(ctx, "all four to the one that stays", func() bool { return owned[0].count() == 4 })
}

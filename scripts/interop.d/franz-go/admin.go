package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func adminCases() []testCase {
	return []testCase{
		{"admin: metadata of brokers and topics", describeTopics},
		{"admin: what exists or is wrong is refused", refusals},
		{"admin: delete a topic, make it again: another id", topicIDs},
		{"admin: create partitions", createPartitions},
		{"admin: describe and alter configs", configs},
		{"admin: list offsets: start, end, after a time, of the largest timestamp", listOffsets},
		{"admin: delete records", deleteRecords},
		{"admin: offset for leader epoch", leaderEpoch},
		{"admin: log directories", logDirs},
		{"admin: describe producers", producers},
		{"admin: list, describe, lag and delete of groups", groups},
		{"admin: commit, fetch and delete offsets", groupOffsets},
	}
}

func isError(err, wanted error) error {
	if !errors.Is(err, wanted) {
		return fmt.Errorf("expected %v, got %v", wanted, err)
	}
	return nil
}

func describeTopics(ctx context.Context) error {
	topic := named("created")
	if err := create(ctx, topic, 3, nil); err != nil {
		return err
	}
	metadata, err := admin.Metadata(ctx, topic)
	if err != nil {
		return err
	}
	detail := metadata.Topics[topic]
	checks := []error{
		expect("controller", metadata.Controller, int32(1)),
		expect("length of the cluster id", len(metadata.Cluster), 22),
		expect("brokers", metadata.Brokers.NodeIDs(), []int32{1}),
		expect("partitions", len(detail.Partitions), 3),
		expect("internal", detail.IsInternal, false),
		expect("has an id", detail.ID != kadm.TopicID{}, true),
	}
	for _, part := range detail.Partitions.Sorted() {
		checks = append(checks, expect("leader", part.Leader, int32(1)), expect("replicas", part.Replicas, []int32{1}),
			expect("ISR", part.ISR, []int32{1}))
	}
	return all(checks...)
}

func refusals(ctx context.Context) error {
	topic, soon := named("refused"), "soon"
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	_, err := admin.CreateTopic(ctx, 1, 3, nil, named("three"))
	_, absent := admin.DeleteTopic(ctx, named("absent"))
	return all(
		isError(create(ctx, topic, 1, nil), kerr.TopicAlreadyExists),
		isError(create(ctx, "a/b", 1, nil), kerr.InvalidTopicException),
		isError(create(ctx, named("soon"), 1, map[string]*string{"retention.ms": &soon}), kerr.InvalidConfig),
		isError(err, kerr.InvalidReplicationFactor),
		isError(absent, kerr.UnknownTopicOrPartition),
	)
}

func topicIDs(ctx context.Context) error {
	topic := named("again")
	first, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
	if err != nil {
		return err
	}
	if _, err := admin.DeleteTopic(ctx, topic); err != nil {
		return err
	}
	second, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
	if err != nil {
		return err
	}
	return expect("the same id", first.ID == second.ID, false)
}

func createPartitions(ctx context.Context) error {
	topic := named("grow")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	answers, err := admin.UpdatePartitions(ctx, 5, topic)
	if err != nil {
		return err
	}
	fewer, err := admin.UpdatePartitions(ctx, 2, topic)
	if err != nil {
		return err
	}
	return all(answers.Error(), isError(fewer.Error(), kerr.InvalidPartitions), partitionsLed(ctx, topic, 5))
}

func configs(ctx context.Context) error {
	topic, retention, size := named("configs"), "4321", "2000"
	if err := create(ctx, topic, 1, map[string]*string{"retention.ms": &retention}); err != nil {
		return err
	}
	value := func(key string) string {
		described, err := admin.DescribeTopicConfigs(ctx, topic)
		if err != nil || len(described) != 1 {
			return fmt.Sprint(err)
		}
		for _, config := range described[0].Configs {
			if config.Key == key {
				return fmt.Sprint(config.MaybeValue(), " ", config.Source)
			}
		}
		return "absent"
	}
	before := value("retention.ms")
	set, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &size}}, topic)
	if err != nil {
		return err
	}
	altered := func() bool { return value("max.message.bytes") == "2000 DYNAMIC_TOPIC_CONFIG" }
	if err := until(ctx, "it is altered", altered); err != nil {
		return err
	}
	unset, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "max.message.bytes"}}, topic)
	if err != nil {
		return err
	}
	takenBack := func() bool { return value("max.message.bytes") == "1048588 DEFAULT_CONFIG" }
	return all(set[0].Err, unset[0].Err, expect("created", before, "4321 DYNAMIC_TOPIC_CONFIG"), until(ctx, "it is taken back", takenBack))
}

func listOffsets(ctx context.Context) error {
	topic := named("offsets")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	base := int64(1_600_000_000_000)
	for _, at := range []int64{1000, 3000, 2000} {
		if _, err := produce(ctx, nil, &kgo.Record{Topic: topic, Timestamp: time.UnixMilli(base + at)}); err != nil {
			return err
		}
	}
	at := func(listed kadm.ListedOffsets, err error) string {
		one, _ := listed.Lookup(topic, 0)
		return fmt.Sprintf("%d@%d epoch %d %v %v", one.Offset, one.Timestamp, one.LeaderEpoch, err, one.Err)
	}
	return all(
		expect("start", at(admin.ListStartOffsets(ctx, topic)), "0@-1 epoch 0 <nil> <nil>"),
		expect("end", at(admin.ListEndOffsets(ctx, topic)), "3@-1 epoch 0 <nil> <nil>"),
		expect("committed end", at(admin.ListCommittedOffsets(ctx, topic)), "3@-1 epoch 0 <nil> <nil>"),
		expect("after a time", at(admin.ListOffsetsAfterMilli(ctx, base+1500, topic)), fmt.Sprintf("1@%d epoch 0 <nil> <nil>", base+3000)),
		expect("largest", at(admin.ListMaxTimestampOffsets(ctx, topic)), fmt.Sprintf("1@%d epoch 0 <nil> <nil>", base+3000)),
	)
}

func deleteRecords(ctx context.Context) error {
	topic := named("delete")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	if _, err := produce(ctx, nil, numbers(topic, 0, 5)...); err != nil {
		return err
	}
	before := func(offset int64) (kadm.DeleteRecordsResponse, error) {
		asked := kadm.Offsets{}
		asked.AddOffset(topic, 0, offset, -1)
		answer, err := admin.DeleteRecords(ctx, asked)
		if err != nil {
			return kadm.DeleteRecordsResponse{}, err
		}
		return answer[topic][0], answer.Error()
	}
	three, err := before(3)
	if err != nil {
		return err
	}
	_, beyond := before(99)
	left, err := readTopic(ctx, topic, 2)
	if err != nil {
		return err
	}
	end, err := before(-1)
	if err != nil {
		return err
	}
	return all(expect("low watermark", three.LowWatermark, int64(3)), isError(beyond, kerr.OffsetOutOfRange),
		expect("left", values(left), []string{"3", "4"}), expect("up to the end", end.LowWatermark, int64(5)))
}

func leaderEpoch(ctx context.Context) error {
	topic := named("epoch")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	if _, err := produce(ctx, nil, numbers(topic, 0, 5)...); err != nil {
		return err
	}
	request := kadm.OffsetForLeaderEpochRequest{}
	request.Add(topic, 0, 0)
	answer, err := admin.OffsetForLeaderEpoch(ctx, request)
	if err != nil {
		return err
	}
	one := answer[topic][0]
	return all(one.Err, expect("end of epoch 0", one.EndOffset, int64(5)))
}

func logDirs(ctx context.Context) error {
	topic := named("dirs")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	plain := []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}
	if _, err := produce(ctx, plain, &kgo.Record{Topic: topic, Value: make([]byte, 100)}); err != nil {
		return err
	}
	all, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return err
	}
	part, found := all[1].LookupPartition(topic, 0)
	if !found || part.Size < 100 || part.Size > 300 || part.IsFuture {
		return fmt.Errorf("found %v: %+v", found, part)
	}
	return nil
}

func producers(ctx context.Context) error {
	topic := named("producers")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	if _, err := produce(ctx, nil, numbers(topic, 0, 3)...); err != nil {
		return err
	}
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	described, err := admin.DescribeProducers(ctx, set)
	if err != nil {
		return err
	}
	active := described[topic].Partitions[0].ActiveProducers.Sorted()
	if len(active) != 1 {
		return fmt.Errorf("expected one producer, got %v", active)
	}
	return all(expect("epoch", active[0].ProducerEpoch, int16(0)), expect("last sequence", active[0].LastSequence, int32(2)),
		expect("transaction start", active[0].CurrentTxnStartOffset, int64(-1)))
}

func groups(ctx context.Context) error {
	topic, group := named("groups"), named("groups")
	if err := create(ctx, topic, 1, nil); err != nil {
		return err
	}
	if _, err := produce(ctx, nil, numbers(topic, 0, 5)...); err != nil {
		return err
	}
	cl, err := member(group, topic, kgo.ClientID("the-client"))
	if err != nil {
		return err
	}
	defer cl.Close()
	got, err := read(ctx, cl, 5)
	if err != nil {
		return err
	}
	if err := cl.CommitRecords(ctx, got[1]); err != nil {
		return err
	}
	described, err := admin.DescribeGroups(ctx, group)
	if err != nil {
		return err
	}
	lags, err := admin.Lag(ctx, group)
	if err != nil {
		return err
	}
	one := described[group]
	busy := all(one.Err, expect("state", one.State, "Stable"), expect("protocol", one.Protocol, "cooperative-sticky"),
		expect("members", len(one.Members), 1), expect("client", one.Members[0].ClientID, "the-client"),
		expect("lag", lags[group].Lag[topic][0].Lag, int64(3)))
	if busy != nil {
		return busy
	}
	if _, err := admin.DeleteGroup(ctx, group); !errors.Is(err, kerr.NonEmptyGroup) {
		return fmt.Errorf("expected NON_EMPTY_GROUP, got %v", err)
	}
	cl.Close()
	listed, err := admin.ListGroups(ctx, "Empty")
	if err != nil {
		return err
	}
	if _, err := admin.DeleteGroup(ctx, group); err != nil {
		return err
	}
	after, err := admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	_, still := after[group]
	return all(expect("listed as", listed[group].State, "Empty"), expect("still listed", still, false))
}

func groupOffsets(ctx context.Context) error {
	topic, group := named("commits"), named("commits")
	if err := create(ctx, topic, 2, nil); err != nil {
		return err
	}
	commits := kadm.Offsets{}
	commits.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: 0, Metadata: "seven"})
	commits.Add(kadm.Offset{Topic: topic, Partition: 1, At: 8, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(ctx, group, commits); err != nil {
		return err
	}
	text := func() string {
		fetched, err := admin.FetchOffsets(ctx, group)
		out := fmt.Sprint(err)
		for _, one := range fetched.Sorted() {
			out += fmt.Sprintf(" %d=%d/%d/%s", one.Partition, one.At, one.LeaderEpoch, one.Metadata)
		}
		return out
	}
	both := text()
	set := kadm.TopicsSet{}
	set.Add(topic, 0)
	deleted, err := admin.DeleteOffsets(ctx, group, set)
	if err != nil {
		return err
	}
	return all(expect("fetched", both, "<nil> 0=7/0/seven 1=8/-1/"), deleted.Error(), expect("after deleting", text(), "<nil> 1=8/-1/"))
}

// Command interop drives a broker with franz-go, the Go client that follows Kafka's newest protocol versions most closely.
// The lines it prints are explained in ../cases.py.
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const caseTimeout = 60 * time.Second

type testCase struct {
	title string
	run   func(context.Context) error
}

var (
	bootstrap = orElse(os.Getenv("BOOTSTRAP"), "127.0.0.1:9092")
	prefix    = orElse(os.Getenv("PREFIX"), fmt.Sprintf("interop-%d", os.Getpid()))
	admin     *kadm.Client
)

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// named gives a topic or group name that no other run on this broker uses.
func named(part string) string { return prefix + "-" + part }

func expect(what string, got, wanted any) error {
	if !reflect.DeepEqual(got, wanted) {
		return fmt.Errorf("%s: expected %v, got %v", what, wanted, got)
	}
	return nil
}

// all returns the first error, so that a case can list its expectations.
func all(checks ...error) error {
	for _, check := range checks {
		if check != nil {
			return check
		}
	}
	return nil
}

func until(ctx context.Context, what string, check func() bool) error {
	limit := time.Now().Add(20 * time.Second)
	for !check() {
		if time.Now().After(limit) || ctx.Err() != nil {
			return fmt.Errorf("not in time: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func client(opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, opts...)...)
}

func create(ctx context.Context, topic string, partitions int32, configs map[string]*string) error {
	if _, err := admin.CreateTopic(ctx, partitions, 1, configs, topic); err != nil {
		return err
	}
	return partitionsLed(ctx, topic, int(partitions))
}

// partitionsLed waits: Kafka answers when its controller has decided, and its broker follows a moment later.
func partitionsLed(ctx context.Context, topic string, count int) error {
	return until(ctx, fmt.Sprintf("%d partitions of %s have leaders", count, topic), func() bool {
		listed, err := admin.ListTopics(ctx, topic)
		led := 0
		for _, part := range listed[topic].Partitions {
			if part.Leader == 1 {
				led++
			}
		}
		return err == nil && led == count
	})
}

func main() {
	wanted := ""
	if len(os.Args) > 1 {
		wanted = os.Args[1]
	}
	cl, err := client()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	admin = kadm.NewClient(cl)
	count := 0
	for _, each := range append(recordCases(), adminCases()...) {
		if !strings.Contains(each.title, wanted) {
			continue
		}
		count++
		began := time.Now()
		fmt.Fprintf(os.Stderr, "--- %s\n", each.title)
		ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
		if err := each.run(ctx); err != nil {
			fmt.Printf("FAIL %s: %s\n", each.title, strings.Join(strings.Fields(err.Error()), " "))
		} else {
			fmt.Printf("ok   %s\n", each.title)
		}
		cancel()
		fmt.Fprintf(os.Stderr, "--- %.1f s\n", time.Since(began).Seconds())
	}
	fmt.Printf("done %d\n", count)
}

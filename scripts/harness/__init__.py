"""What the scripts share: brokers to start and stop, Kafka's tools to run, and the counting of what passed."""

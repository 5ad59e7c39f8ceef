"""The log on Kafka, through aiokafka, of which nothing is seen from outside."""

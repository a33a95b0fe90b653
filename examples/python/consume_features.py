"""Prints sequence-features and ranking-features as NDJSON, from the beginning: {"topic", "partition", "offset",
"timestampMs", "key", "value"}. A null value says that the user was removed.

    python consume_features.py --brokers HOST:PORT --registry URL [--topic TOPIC]… [--until-end]
"""

import argparse
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from registry import Registry

TOPICS = ["sequence-features", "ranking-features"]
TIMEOUT_S = 10


def main():
    options = arguments()
    registry = Registry(options.registry)
    consumer = Consumer(
        {
            "bootstrap.servers": options.brokers,
            # The client wants a name; no group is joined and no offset committed, since partitions are assigned below.
            "group.id": "example-consume-features",
            "enable.auto.commit": False,
            # Features are written in transactions: what an interrupted one left behind is not shown.
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        # The topics are compacted: read from the beginning they hold the newest record of every user.
        partitions = [each for topic in options.topic or TOPICS for each in partitions_of(consumer, topic)]
        consumer.assign(partitions)
        unfinished = {(each.topic, each.partition) for each in partitions}
        while unfinished or not options.until_end:
            message = consumer.poll(1)
            if message is None:
                continue
            error = message.error()
            if error is None:
                print_record(registry, message)
            elif error.code() == KafkaError._PARTITION_EOF:
                unfinished.discard((message.topic(), message.partition()))
                sys.stdout.flush()
            else:
                raise KafkaException(error)
    finally:
        consumer.close()


def partitions_of(consumer, topic):
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in metadata.partitions]


def print_record(registry, message):
    value = message.value()
    record = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestampMs": message.timestamp()[1],
        "key": message.key().decode(),
        "value": None if value is None else registry.decode(value),
    }
    print(json.dumps(record))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True, help="host:port, …")
    parser.add_argument("--registry", required=True, help="URL of the schema registry")
    parser.add_argument("--topic", action="append", help="repeat for several; without it both")
    parser.add_argument("--until-end", action="store_true", help="stop at the end of the topics")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        pass

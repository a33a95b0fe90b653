"""Feeds user-actions from NDJSON: one {"userId", "itemId", "actionType", "eventTimeMs", "surface"?} a line.

    python produce_actions.py --brokers HOST:PORT --registry URL [FILE]

Without FILE the lines come from standard input. Prints how many records each partition took, as one line of JSON.
"""

import argparse
import collections
import json
import sys

from confluent_kafka import Producer

from registry import Registry

TOPIC = "user-actions"


def main():
    options = arguments()
    registry = Registry(options.registry)
    schema = registry.newest(f"{TOPIC}-value")
    taken = collections.Counter()
    failures = []

    def delivered(error, message):
        if error is None:
            taken[message.partition()] += 1
        else:
            failures.append(str(error))

    producer = Producer(
        {
            "bootstrap.servers": options.brokers,
            # A user's actions belong where every other Kafka client puts them. librdkafka's default is CRC-32, and
            # Freshet rejects what lies elsewhere as wrong_partition.
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": 20,
        }
    )
    for line in options.file:
        if not line.strip():
            continue
        action = json.loads(line)
        value = registry.encode(schema, action)
        produce(producer, action["userId"].encode(), value, delivered)
        if failures:
            break
    producer.flush()
    if failures:
        sys.exit(f"{len(failures)} records were not taken, the first: {failures[0]}")
    print(json.dumps({"produced": sum(taken.values()), "partitions": dict(sorted(taken.items()))}))


def produce(producer, key, value, delivered):
    while True:
        try:
            producer.produce(TOPIC, key=key, value=value, on_delivery=delivered)
            producer.poll(0)
            return
        except BufferError:  # The local queue is full: wait for the broker.
            producer.poll(1)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", required=True, help="host:port, …")
    parser.add_argument("--registry", required=True, help="URL of the schema registry")
    parser.add_argument("file", nargs="?", type=argparse.FileType("rb"), default=sys.stdin.buffer)
    return parser.parse_args()


if __name__ == "__main__":
    main()

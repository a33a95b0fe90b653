"""Cleans the published CI&T Deskdrop log into actions.csv.gz, the file that ships.

    python3 data/deskdrop/clean.py users_interactions.csv data/deskdrop/actions.csv.gz

Keeps five columns, maps the raw user agent to a surface (web, android, ios, or empty where it is missing), drops
session, region and country, and sorts by event time; ties keep the order of the published file. No row is dropped:
the duplicates are part of what the product must cope with.
"""

import csv
import gzip
import sys


def surface(user_agent: str) -> str:
    if not user_agent:
        return ""
    if "Android" in user_agent:
        return "android"
    if any(mark in user_agent for mark in ("iPhone", "iPad", "iOS")):
        return "ios"
    return "web"


def main(source: str, target: str) -> None:
    with open(source, newline="", encoding="utf-8") as lines:
        rows = [
            (int(row["timestamp"]), row["eventType"], row["contentId"], row["personId"], surface(row["userAgent"]))
            for row in csv.DictReader(lines)
        ]
    rows.sort(key=lambda row: row[0])
    with open(target, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, mtime=0, filename="") as packed:
        packed.write(b"timestamp,eventType,contentId,personId,surface\n")
        for row in rows:
            packed.write((",".join(map(str, row)) + "\n").encode())


if __name__ == "__main__":
    main(*sys.argv[1:])

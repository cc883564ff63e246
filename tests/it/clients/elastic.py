"""Sends documents with Elasticsearch's own client to the address given; it checks first who answers."""

import sys

from elasticsearch import Elasticsearch, helpers

client = Elasticsearch(sys.argv[1], request_timeout=20)
assert client.info()["version"]["number"].startswith("8."), client.info()
documents = [
    {"_index": "logs", "message": f"document {number}", "service": {"name": "elastic"}, "user": {"id": number}}
    for number in range(int(sys.argv[2]))
]
print(helpers.bulk(client, documents, chunk_size=10))
assert client.cluster.health()["status"] == "green"
refused = client.bulk(operations=[{"index": {"_index": "logs"}}, "no object"])
assert refused["errors"] and refused["items"][0]["index"]["status"] == 400, refused

"""Exports logs with OpenTelemetry's own SDK to the endpoint given, plain and packed, with a token if there is one."""

import logging
import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

endpoint, count = sys.argv[1], int(sys.argv[2])
for name, compression in (("plain", Compression.NoCompression), ("packed", Compression.Gzip)):
    resource = Resource.create({"service.name": f"otel-{name}", "os.type": "linux"})
    provider = LoggerProvider(resource=resource)
    exporter = OTLPLogExporter(endpoint=endpoint, compression=compression, timeout=20)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.Logger(name)
    logger.addHandler(LoggingHandler(logger_provider=provider))
    for number in range(count):
        logger.error("line %d", number, extra={"http.method": "GET"})
    assert provider.force_flush(20_000)
    provider.shutdown()

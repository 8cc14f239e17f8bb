"""Operations: logs, the audit log, metrics, tracing, memory."""

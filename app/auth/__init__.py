"""Keys and tokens: JWT, RS256 only (RFC 7519), by joserfc."""

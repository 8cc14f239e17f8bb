"""Keys and tokens: JWT (RFC 7519), by joserfc."""

"""Keys and access tokens: JWT (RFC 7519), implemented with joserfc."""

"""How the OpenAPI document speaks of the key. ``app.security`` has checked it before a route is reached."""

from __future__ import annotations

from fastapi.security import APIKeyHeader, HTTPBearer

#: The two ways of sending the key.
KEY_SCHEMES = (
    HTTPBearer(auto_error=False, description="The server's API key, if it has one."),
    APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key in a header of its own."),
)

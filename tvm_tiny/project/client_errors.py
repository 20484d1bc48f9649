"""Errors of the Project API that the client finds itself; those a server reports are in ``server``."""

from __future__ import annotations

from typing import Any

from tvm_tiny.errors import ProjectError


class ConnectionShutdownError(ProjectError):
    """The server ended, or closed its end of the pipes."""


class MalformedReplyError(ProjectError):
    """The server sent a line that is not a JSON-RPC 2.0 reply."""


class MismatchedIdError(ProjectError):
    """The reply belongs to another request."""


class ProjectAPIServerNotFoundError(ProjectError):
    """The directory holds no Project API server."""


class UnsupportedProtocolVersionError(ProjectError):
    """The server speaks another version of the protocol."""


class ServerTimeoutError(ProjectError):
    """The server did not answer in time."""


class RPCError(ProjectError):
    """The server reported an error that is not one of ``server.ServerError``'s known classes."""

    def __init__(self, method: str, code: int, message: str, data: Any) -> None:
        hints = ["run again with --debug to see the server's own messages"]
        super().__init__(f"Project API server failed in {method}: {message} (code {code})", hints=hints)
        self.method = method
        self.code = code
        self.data = data

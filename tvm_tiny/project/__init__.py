"""Project API, as microTVM had it: templates make projects, servers build, flash and talk to them."""

from tvm_tiny.project.client import ProjectAPIClient, instantiate_from_dir
from tvm_tiny.project.client_errors import (
    ConnectionShutdownError,
    MalformedReplyError,
    MismatchedIdError,
    ProjectAPIServerNotFoundError,
    RPCError,
    ServerTimeoutError,
    UnsupportedProtocolVersionError,
)
from tvm_tiny.project.link import FaultError, RunStats, Session
from tvm_tiny.project.project import (
    PLATFORMS,
    GeneratedProject,
    NotATemplateProjectError,
    ProjectTransport,
    TemplateProject,
    TemplateProjectError,
    generate_project,
    generate_project_from_mlf,
    template_dir,
)
from tvm_tiny.project.server import ProjectOption, ServerInfo

__all__ = [
    "PLATFORMS",
    "ConnectionShutdownError",
    "FaultError",
    "GeneratedProject",
    "MalformedReplyError",
    "MismatchedIdError",
    "NotATemplateProjectError",
    "ProjectAPIClient",
    "ProjectAPIServerNotFoundError",
    "ProjectOption",
    "ProjectTransport",
    "RPCError",
    "RunStats",
    "ServerInfo",
    "ServerTimeoutError",
    "Session",
    "TemplateProject",
    "TemplateProjectError",
    "UnsupportedProtocolVersionError",
    "generate_project",
    "generate_project_from_mlf",
    "instantiate_from_dir",
    "template_dir",
]

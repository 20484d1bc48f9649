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
from tvm_tiny.project.faults import Fault, FaultError
from tvm_tiny.project.link import DeviceInfo, Link, Request
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
from tvm_tiny.project.session import Ran, RunStats, Session

__all__ = [
    "PLATFORMS",
    "ConnectionShutdownError",
    "DeviceInfo",
    "Fault",
    "FaultError",
    "GeneratedProject",
    "Link",
    "MalformedReplyError",
    "MismatchedIdError",
    "NotATemplateProjectError",
    "ProjectAPIClient",
    "ProjectAPIServerNotFoundError",
    "ProjectOption",
    "ProjectTransport",
    "RPCError",
    "Ran",
    "Request",
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

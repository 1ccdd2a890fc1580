"""`meteora.auth.AuthService`: logins, users and roles. Who may call what is decided before (see `guarded`)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc

from meteora.errors import ChangeRefused, InvalidRequest, RequestError
from meteora.kv.users import ROOT, Access, Permission
from meteora.node.node import Node
from meteora.pb import auth_pb2, common_pb2
from meteora.pb.auth_pb2_grpc import AuthServiceServicer
from meteora.server.access import Caller, Gate, authorization_of
from meteora.server.administration import Administration
from meteora.server.deadlines import deadline_of
from meteora.server.replies import Replies
from meteora.server.statuses import abort

_ReplyT = TypeVar(
    "_ReplyT",
    auth_pb2.AuthReply,
    auth_pb2.AuthenticateReply,
    auth_pb2.AuthStatusReply,
    auth_pb2.UserGetReply,
    auth_pb2.NamesReply,
    auth_pb2.RoleGetReply,
)

_T = TypeVar("_T")

_Context = grpc.aio.ServicerContext[Any, Any]

_ACCESS: Final = {
    auth_pb2.Permission.READ: Access.READ,
    auth_pb2.Permission.WRITE: Access.WRITE,
    auth_pb2.Permission.READWRITE: Access.READWRITE,
}
_TYPES: Final = {access: kind for kind, access in _ACCESS.items()}


class AuthService(AuthServiceServicer):
    """Asks `Administration`, and answers."""

    def __init__(
        self, node: Node, administration: Administration, gate: Gate, replies: Replies, *, timeout_seconds: float
    ) -> None:
        self._node = node
        self._administration = administration
        self._gate = gate
        self._replies = replies
        self._timeout_seconds = timeout_seconds

    async def Authenticate(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.AuthenticateReq, context: _Context
    ) -> auth_pb2.AuthenticateReply:
        """A token."""
        address = context.peer().rpartition(":")[0]
        deadline = self._deadline(context)
        work = self._administration.log_in(request.name, request.password, address, deadline)
        login = await _answered(context, work)
        reply = self._reply(auth_pb2.AuthenticateReply)
        reply.token, reply.ttl_milliseconds = login.token, int(login.ttl_seconds * 1000)
        return reply

    async def AuthStatus(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: _Context,
    ) -> auth_pb2.AuthStatusReply:
        """Whether users are enabled."""
        await _answered(context, self._node.catch_up(self._deadline(context)))
        reply = self._reply(auth_pb2.AuthStatusReply)
        reply.enabled, reply.revision = self._node.users.is_enabled, self._node.users.revision
        return reply

    async def AuthEnable(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: _Context,
    ) -> auth_pb2.AuthReply:
        """Let only those in who have logged in."""
        return await self._done(context, self._by(context).enable(self._deadline(context)))

    async def AuthDisable(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: _Context,
    ) -> auth_pb2.AuthReply:
        """Let everybody in."""
        return await self._done(context, self._by(context).disable(self._deadline(context)))

    # Users

    async def UserAdd(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.UserAddReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Add a user."""
        work = self._by(context).add_user(request.name, request.password, self._deadline(context))
        return await self._done(context, work)

    async def UserGet(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.UserReq, context: _Context
    ) -> auth_pb2.UserGetReply:
        """The roles of a user."""
        await _answered(context, self._look(context, lambda caller: caller.user == request.name))
        user = self._node.users.users.get(request.name)
        if user is None:
            await abort(context, ChangeRefused(f"there is no user {request.name!r}"))
        reply = self._reply(auth_pb2.UserGetReply)
        reply.roles.extend(sorted(user.roles))
        return reply

    async def UserList(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: _Context,
    ) -> auth_pb2.NamesReply:
        """All users."""
        await _answered(context, self._look(context, lambda _: False))
        reply = self._reply(auth_pb2.NamesReply)
        reply.names.extend(sorted(self._node.users.users))
        return reply

    async def UserDelete(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.UserReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Remove a user."""
        return await self._done(context, self._by(context).delete_user(request.name, self._deadline(context)))

    async def UserChangePassword(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.UserAddReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Give a user another password."""
        work = self._by(context).change_password(request.name, request.password, self._deadline(context))
        return await self._done(context, work)

    async def UserGrantRole(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.UserRoleReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Give a user a role."""
        work = self._by(context).grant_role(request.name, request.role, self._deadline(context))
        return await self._done(context, work)

    async def UserRevokeRole(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.UserRoleReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Take a role from a user."""
        work = self._by(context).revoke_role(request.name, request.role, self._deadline(context))
        return await self._done(context, work)

    # Roles

    async def RoleAdd(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.RoleReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Add a role."""
        return await self._done(context, self._by(context).add_role(request.role, self._deadline(context)))

    async def RoleGet(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.RoleReq, context: _Context
    ) -> auth_pb2.RoleGetReply:
        """The permissions of a role."""
        await _answered(context, self._look(context, lambda caller: request.role in caller.roles))
        role = self._node.users.roles.get(request.role)
        if role is None and request.role != ROOT:
            await abort(context, ChangeRefused(f"there is no role {request.role!r}"))
        reply = self._reply(auth_pb2.RoleGetReply)
        for access, key, range_end in role.permissions if role is not None else ():
            reply.permissions.add(type=_TYPES[access], key=key, range_end=range_end)
        return reply

    async def RoleList(  # noqa: N802  the method's name in the proto
        self,
        request: common_pb2.Null,  # noqa: ARG002  the servicer's signature
        context: _Context,
    ) -> auth_pb2.NamesReply:
        """All roles."""
        await _answered(context, self._look(context, lambda _: False))
        reply = self._reply(auth_pb2.NamesReply)
        reply.names.extend(sorted({*self._node.users.roles, ROOT}))
        return reply

    async def RoleDelete(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.RoleReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Remove a role."""
        return await self._done(context, self._by(context).delete_role(request.role, self._deadline(context)))

    async def RoleGrantPermission(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.RolePermissionReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Give a role access to keys."""
        access = _ACCESS.get(request.permission.type)
        if access is None:
            await abort(context, InvalidRequest(f"a permission of type {request.permission.type} is none"))
        permission = Permission(access, request.permission.key, request.permission.range_end)
        work = self._by(context).grant_permission(request.role, permission, self._deadline(context))
        return await self._done(context, work)

    async def RoleRevokePermission(  # noqa: N802  the method's name in the proto
        self, request: auth_pb2.RolePermissionReq, context: _Context
    ) -> auth_pb2.AuthReply:
        """Take access to keys from a role."""
        key, range_end = request.permission.key, request.permission.range_end
        work = self._by(context).revoke_permission(request.role, key, range_end, self._deadline(context))
        return await self._done(context, work)

    def _by(self, context: _Context) -> Administration:
        """For whoever calls."""
        authorization = authorization_of(context)
        return self._administration.asked_for(lambda: self._gate.ensure_root(authorization))

    async def _look(self, context: _Context, is_own: Callable[[Caller], bool]) -> None:
        """Catch up, and let only root look at what is not the caller's own."""
        await self._node.catch_up(self._deadline(context))
        self._gate.ensure_own(authorization_of(context), is_own)

    async def _done(self, context: _Context, work: Awaitable[None]) -> auth_pb2.AuthReply:
        await _answered(context, work)
        return self._reply(auth_pb2.AuthReply)

    def _reply(self, kind: type[_ReplyT]) -> _ReplyT:
        status = self._replies.status()
        reply = kind(state=common_pb2.OK, leader_id=status.leader_id)
        reply.address_map.MergeFrom(status.address_map)
        return reply

    def _deadline(self, context: _Context) -> float:
        return deadline_of(context, self._timeout_seconds, asyncio.get_running_loop().time())


async def _answered(context: _Context, work: Awaitable[_T]) -> _T:
    """What `work` returns; ends the call if it can't be done."""
    try:
        return await work
    except RequestError as error:
        await abort(context, error)

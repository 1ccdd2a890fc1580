"""TLS on grpcio's server: its own, with the certificates that are current at each handshake.

What grpcio keeps to itself can't be had here: its handshakes are neither counted nor told of, but for calls that are
refused because the certificate bears no name that is allowed: those it lets in, and each of their calls is ended.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, cast

import grpc

from meteora.rpc.grpcio_requests import FACTORIES
from meteora.rpc.method import Handler
from meteora.tls import Certificates, IncomingTls, PeerCertificate, TlsFailure


def credentials_of(tls: IncomingTls) -> grpc.ServerCredentials:
    """What grpcio asks at each handshake."""
    current = _Current(tls.certificates)
    return grpc.dynamic_ssl_server_credentials(
        current.configuration(),
        # What nothing has changed for may say None, which the types don't know.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", current),
        require_client_authentication=tls.certificates.files.ca is not None,
    )


class _Current:
    """Tells grpcio's threads what has changed since they asked last."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._told: object = None

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        return None if self._certificates.current is self._told else self.configuration()

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """What is in use now."""
        self._told = loaded = self._certificates.current
        pair = (loaded.key_pem, loaded.cert_pem)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=loaded.ca_pem)


def with_allowed_names(handler: Handler, tls: IncomingTls) -> Handler:
    """The handler, but that a call ends with UNAVAILABLE if its certificate bears no name that is allowed."""
    behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    if not tls.allowed_names:
        return handler
    return FACTORIES[handler.request_streaming, handler.response_streaming](
        _checked(behaviour, tls),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _checked(behaviour: Callable[[Any, Any], Any], tls: IncomingTls) -> Callable[[Any, Any], Any]:
    async def call(request: Any, context: Any) -> Any:
        await _ensure_allowed(context, tls)
        response = behaviour(request, context)
        return await response if inspect.isawaitable(response) else response

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        await _ensure_allowed(context, tls)
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    return stream if inspect.isasyncgenfunction(behaviour) else call


async def _ensure_allowed(context: Any, tls: IncomingTls) -> None:
    try:
        tls.ensure_allowed(_certificate_of(context))
    except TlsFailure as failure:
        tls.refused(context.peer().rpartition(":")[0].partition(":")[2], failure)
        await context.abort(grpc.StatusCode.UNAVAILABLE, str(failure))


def _certificate_of(context: Any) -> PeerCertificate:
    found = context.auth_context()
    common_names = [name.decode() for name in found.get("x509_common_name", ())]
    alternative = [name.decode() for name in found.get("x509_subject_alternative_name", ())]
    return PeerCertificate(common_names[0] if common_names else None, tuple(alternative))

"""A call besides the stream, made once more if a new token or profile may be all it lacked.

Rules of this file: one more attempt, on the same credential; who is to blame, and whom to ask
next, the caller decides.

Source: BEHAVIOUR.md, "Retries inside the gateway".
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from kiroproxy.accounts.credential import Credential
from kiroproxy.errors import TokenRejected, WrongProfile
from kiroproxy.upstream.dispatch import Dispatcher

T = TypeVar("T")


async def mended(
    dispatcher: Dispatcher, credential: Credential, call: Callable[[Credential], Awaitable[T]]
) -> T:
    """Return a call's answer; `call` is given the credential as it is sent.

    Raises: UpstreamError — as `call` and `Dispatcher.ready`.
    """
    sent = await dispatcher.ready(credential)
    try:
        return await call(sent)
    except (TokenRejected, WrongProfile) as fault:
        if sent.auth_method == "api_key":
            raise
        if isinstance(fault, WrongProfile) and not await dispatcher.profiles.resolve(sent):
            raise
        if isinstance(fault, TokenRejected):
            credential = await dispatcher.refresher.fresh(
                credential, force=True, rejected_token=sent.access_token
            )
    return await call(await dispatcher.ready(credential))

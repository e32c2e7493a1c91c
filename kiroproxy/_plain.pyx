"""Small things that every request needs: the plan of a plain question, ids, a class's members.

Rules of this file: no policy; pure but for what is drawn; what is recognised here, and in what
words, is what `protocol.simple` says. It answers "not that simple" to whatever it does not know;
it repairs and refuses nothing.

Source: `protocol.simple`, whose tests compare the outcome with the long way's.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from hashlib import sha256
from os import urandom
from types import MemberDescriptorType

from orjson import dumps

from kiroproxy._json import write
from kiroproxy._tally cimport Weights

try:
    # For names of a few dozen bytes: to set up OpenSSL's takes longer than to hash them.
    from _sha1 import sha1
except ImportError:  # Python can be built without
    from hashlib import sha1

cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    object PyType_GenericAlloc(PyTypeObject *kind, Py_ssize_t items)

cdef extern from "structmember.h":
    int T_OBJECT_EX

cdef extern from "math.h":
    long long llrint(double) nogil  # half to even, as `round` does

cdef enum:
    DIGEST_BYTES = 16
    UUID_LEN = 36
    DRAWN_BYTES = 4096
    ID_BYTES = 12
    NAMES_MAX = 256     # of models, as clients spell them; a handful, but for the curious
    NAME_LEN_MAX = 100

cdef const char *DIGITS = b"0123456789abcdef"


# -- what is simple ------------------------------------------------------------------------


cdef list _said(dict body, frozenset known):
    """Return the texts of the one message of a body without other members; else None."""
    cdef PyObject *key
    cdef PyObject *value
    cdef Py_ssize_t at = 0
    cdef dict message
    while PyDict_Next(body, &at, &key, &value):
        if <object>key not in known:
            return None
    messages = body.get("messages")
    if type(messages) is not list or len(<list>messages) != 1:
        return None
    if type((<list>messages)[0]) is not dict:
        return None
    message = <dict>(<list>messages)[0]
    if len(message) != 2 or message.get("role") != "user":
        return None
    return _texts(message.get("content"))


cdef list _told(object system, str unwanted):
    """Return the texts of the system prompt, none of which begins so; else None."""
    cdef list texts
    cdef str text
    if system is None or system == "":
        return []
    texts = _texts(system)
    if texts is None:
        return None
    for text in texts:
        if text.startswith(unwanted):
            return None
    return texts


cdef list _texts(object content):
    """Return the texts of a string, or of text blocks that hold nothing else; else None."""
    cdef list found
    if type(content) is str:
        return [content] if content else None
    if type(content) is not list or not content:
        return None
    found = []
    for block in <list>content:
        if type(block) is not dict or not _is_text(<dict>block):
            return None
        found.append((<dict>block)["text"])
    return found


cdef bint _is_text(dict block) except -1:
    cdef Py_ssize_t members = 2 + ("cache_control" in block)
    cdef PyObject *text = PyDict_GetItem(block, "text")
    if text == NULL or type(<object>text) is not str or not <object>text:
        return False
    return len(block) == members and block.get("type") == "text"


# -- ids -----------------------------------------------------------------------------------


cdef bytes _drawn = b""
cdef Py_ssize_t _spent = 0


cpdef bytes random_bytes(Py_ssize_t count):
    """Return random bytes for an id, which need not be secret.

    Cost: one system call for some hundred ids. A process that forks must not use it in both.
    """
    cdef const uint8_t *drawn = _draw(count)
    return drawn[:count]


cpdef str fresh_id(str prefix):
    """Make an id of the shape Anthropic's have: an ASCII prefix and 24 hexadecimal digits."""
    cdef Py_ssize_t at, size
    cdef const uint8_t *drawn
    if prefix is None or not PyUnicode_IS_COMPACT_ASCII(prefix):
        raise ValueError(prefix)
    size, drawn = PyUnicode_GET_LENGTH(prefix), _draw(ID_BYTES)
    made = PyUnicode_New(size + 2 * ID_BYTES, 127)
    cdef char *text = <char *>PyUnicode_DATA(made)
    memcpy(text, PyUnicode_DATA(prefix), size)
    text += size
    for at in range(ID_BYTES):
        text[2 * at] = DIGITS[drawn[at] >> 4]
        text[2 * at + 1] = DIGITS[drawn[at] & 15]
    return <str>made


cpdef str fresh_uuid():
    """Make a random UUID, as `str(uuid.uuid4())` does at ten times the cost."""
    return uuid_of(random_bytes(DIGEST_BYTES), 4)


cdef const uint8_t *_draw(Py_ssize_t count) except NULL:
    """Return random bytes that stay until the next are drawn."""
    global _drawn, _spent
    if not 0 < count <= DRAWN_BYTES:
        raise ValueError(count)
    if _spent + count > PyBytes_GET_SIZE(_drawn):
        _drawn, _spent = urandom(DRAWN_BYTES), 0
    _spent += count
    return <const uint8_t *>PyBytes_AS_STRING(_drawn) + (_spent - count)


cdef void _write_uuid(const uint8_t *digest, int version, char *text) noexcept nogil:
    """Write the 36 characters of what a digest's first sixteen bytes make."""
    cdef uint8_t one
    cdef int at, out = 0
    for at in range(DIGEST_BYTES):
        one = digest[at]
        if at == 4 or at == 6 or at == 8 or at == 10:
            text[out] = c"-"
            out += 1
        if at == 6:
            one = one & 0x0F | version << 4
        elif at == 8:
            one = one & 0x3F | 0x80  # RFC 9562's variant
        text[out] = DIGITS[one >> 4]
        text[out + 1] = DIGITS[one & 15]
        out += 2


cpdef str uuid_of(bytes digest, int version):
    """Write a UUID of the version made of a digest's (or any) first sixteen bytes."""
    cdef char text[UUID_LEN]
    if digest is None or PyBytes_GET_SIZE(digest) < DIGEST_BYTES:
        raise ValueError("a UUID needs sixteen bytes")
    _write_uuid(<const uint8_t *>PyBytes_AS_STRING(digest), version, text)
    return PyUnicode_DecodeASCII(text, UUID_LEN, NULL)


def is_uuid(str text not None) -> bool:
    """Whether a text is a UUID exactly as the library writes one."""
    cdef const char *inside
    cdef int at
    if PyUnicode_GET_LENGTH(text) != UUID_LEN or not PyUnicode_IS_COMPACT_ASCII(text):
        return False
    inside = <const char *>PyUnicode_DATA(text)
    for at in range(UUID_LEN):
        if at == 8 or at == 13 or at == 18 or at == 23:
            if inside[at] != c"-":
                return False
        elif not (c"0" <= inside[at] <= c"9" or c"a" <= inside[at] <= c"f"):
            return False
    return True


cpdef str uuid_named(bytes space, bytes name):
    """Return what `uuid.uuid5` writes for a name in the space of these sixteen bytes."""
    return uuid_of(sha1(space + name, usedforsecurity=False).digest(), 5)


# -- a class's members ---------------------------------------------------------------------


cdef class Mould:
    """Makes instances of a frozen class with slots, as its `__init__` would.

    Shape: `own` are the members each instance has for itself, `shared` what is alike in all;
    together they are the class's slots.
    Cost: one allocation. `__init__` sets each member through a Python call.
    """

    def __init__(self, type kind not None, tuple own not None, dict shared not None):
        cdef Py_ssize_t at
        cdef tuple names = (*own, *shared)
        if sorted(names) != sorted(kind.__slots__) or len(names) > MEMBERS_MAX:
            raise TypeError(f"these are not the slots of {kind.__name__}")
        if kind.__base__ is not object:
            raise TypeError(f"{kind.__name__} has members of another class")
        self._kind, self._own = kind, len(own)
        self._shared, self._size = tuple(shared.values()), len(names)
        for at in range(self._size):
            self._places[at] = _place(kind.__dict__[names[at]])

    cdef object cast(self, PyObject **own):
        made = PyType_GenericAlloc(<PyTypeObject *>self._kind, 0)
        cdef char *inside = <char *><PyObject *>made
        cdef Py_ssize_t at
        cdef PyObject *value
        for at in range(self._size):
            value = own[at] if at < self._own else <PyObject *>self._shared[at - self._own]
            Py_INCREF(<object>value)
            (<PyObject **>(inside + self._places[at]))[0] = value
        return made

    def make(self, *own):
        """Make an instance of its own members' values."""
        cdef PyObject *values[MEMBERS_MAX]
        cdef Py_ssize_t at
        if len(own) != self._own:
            raise TypeError(f"{self._own} members, {len(own)} values")
        for at in range(self._own):
            values[at] = <PyObject *>own[at]
        return self.cast(values)


cdef Py_ssize_t _place(object descriptor) except -1:
    """Return where a slot lies in its object."""
    cdef PyMemberDef *member
    if type(descriptor) is not MemberDescriptorType:
        raise TypeError("not a slot")
    member = (<PyMemberDescrObject *><PyObject *>descriptor).d_member
    if member.type != T_OBJECT_EX:
        raise TypeError("not a slot")
    return member.offset


# -- the plan ------------------------------------------------------------------------------

# The members of a plan that a simple request has for itself, in the order of `values` below.
OWN = (
    *("requested_model", "model", "stream", "max_tokens", "input_tokens", "estimated_tokens"),
    *("context_window", "conversation_id", "_open"),
)


cdef class Asked:
    """A model as one request named it, with all that follows from the name."""

    def __init__(self, Simple rules not None, str name not None, resolved not None):
        model = resolved.model
        fixed, self.weights = rules._measure(name)
        self.fixed = fixed
        self.is_simple = not resolved.thinking_suffix
        self.model, self.id, self.window = model, model.id, model.context_window
        self.tokens_max = model.context_window * rules._overflow
        self.ending = rules._ending % dumps(model.id)


cdef class Simple:
    """The rules of a simple request, and what they said of the models of one catalogue.

    Shape: `known` are the members a simple body may have; a system text that begins with
    `unwanted` is not simple; `mould` makes plans of the members OWN; `measure(name)` returns the
    tokens of a request without its texts, and what those weigh by; a prompt of `overflow` times
    the model's window is left alone; `conversation_id` names a conversation by a session or by a
    user, `space` by how it began, and in it the first turn by `first`; `form` is the body up to
    both ids and the content, `ending % id` what follows.
    Cost: of a plan, three digests and the body; what follows from a model's name is kept until
    another catalogue comes.
    """

    def __init__(
        self, frozenset known not None, str unwanted not None, Mould mould not None, measure,
        overflow, conversation_id, bytes space not None, bytes first not None,
        tuple form not None, bytes ending not None,
    ):
        if mould._own != len(OWN):
            raise TypeError("the mould is for other members")
        self._known, self._unwanted, self._mould = known, unwanted, mould
        self._measure, self._overflow, self._conversation_id = measure, overflow, conversation_id
        self._space, self._first, self._ending = space, first, ending
        self._before_turn, self._before_conversation, self._before_content = form
        self._asked = {}

    def plan(self, dict body not None, catalogue, ids, str session_id not None, correct):
        """Return the plan of a simple request; None: it is not simple.

        Raises: what `catalogue.resolve` does.
        """
        return self.plan_of(body, catalogue, ids, session_id, correct)

    cdef object plan_of(
        self, dict body, object catalogue, object ids, str session_id, object correct
    ):
        cdef Asked asked
        cdef list system, said, texts
        cdef long long tokens
        cdef object limit, name, stream, conversation, open_body, estimated, counted
        cdef PyObject *values[9]
        said = _said(body, self._known)
        if said is None:
            return None
        system = _told(body.get("system"), self._unwanted)
        limit, name, stream = body.get("max_tokens"), body.get("model"), body.get("stream", False)
        if system is None or type(limit) is not int or limit < 0:
            return None
        if type(name) is not str or type(stream) is not bool:
            return None
        asked = self._understood(<str>name, catalogue)
        texts = system + said if system else said
        tokens = asked.fixed + llrint(asked.weights.weight_of(texts))
        if not asked.is_simple or tokens > asked.tokens_max:
            return None
        text = said[0] if len(said) == 1 else "\n".join(said)
        if system:
            text = "\n\n".join((*system, text))
        content = dumps(text)
        conversation = self._conversation(body, content, text, ids, session_id)
        open_body = self._body(conversation, content, asked.ending)
        estimated = tokens
        counted = correct(asked.id, estimated)
        values[0], values[1] = <PyObject *>name, <PyObject *>asked.model
        values[2], values[3] = <PyObject *>stream, <PyObject *>limit
        values[4], values[5] = <PyObject *>counted, <PyObject *>estimated
        values[6], values[7] = <PyObject *>asked.window, <PyObject *>conversation
        values[8] = <PyObject *>open_body
        return self._mould.cast(values)

    cdef Asked _understood(self, str name, object catalogue):
        cdef PyObject *kept
        cdef Asked made
        cdef dict known
        if catalogue is not self._catalogue:
            self._catalogue, self._asked = catalogue, {}
        known = self._asked  # of this catalogue, should another come while the name is looked up
        kept = PyDict_GetItem(known, name)
        if kept != NULL:
            return <Asked>kept
        made = Asked(self, name, catalogue.resolve(name))
        if len(name) <= NAME_LEN_MAX:
            if len(known) >= NAMES_MAX:
                known.clear()
            known[name] = made
        return made

    cdef str _conversation(
        self, dict body, bytes content, object text, object ids, str session_id
    ):
        """Name the conversation; `content` is the JSON of `text`, maybe all that was said."""
        cdef bytes system, said
        if body.get("metadata") is not None or (session_id and not is_uuid(session_id)):
            return self._conversation_id(body, session_id, ids)
        if session_id:
            return session_id
        found = (<dict>(<list>body["messages"])[0])["content"]
        said = content if found is text else write(found)
        found = body.get("system")
        system = b"null" if found is None else write(found)
        begun = sha256(b"".join((NOBODY, system, said))).hexdigest()
        return uuid_named(self._space, (<str>begun).encode("ascii"))

    cdef bytes _body(self, str conversation, bytes content, bytes ending):
        cdef bytes name = conversation.encode("ascii")
        cdef bytes turn = sha1(self._space + name + self._first, usedforsecurity=False).digest()
        cdef char text[UUID_LEN]
        _write_uuid(<const uint8_t *>PyBytes_AS_STRING(turn), 5, text)
        return b"".join((
            self._before_turn, PyBytes_FromStringAndSize(text, UUID_LEN),
            self._before_conversation, name, self._before_content, content, ending,
        ))


cdef bytes NOBODY = b'""'  # the user of a request that names none

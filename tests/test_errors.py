"""Texts from elsewhere in messages: secrets stay hidden."""

from hypothesis import given
from hypothesis import strategies as st

from raysearch.errors import redact


def test_logins_are_hidden_in_commands() -> None:
    command = "raysearch run --out 's3://KEY:a%2Fb@bucket/runs?endpoint_override=x' --machine a@b"
    assert redact(command) == command.replace("KEY:a%2Fb@", "***@")
    for harmless in ("s3://bucket/a:b@c", "a@b", "--out runs", "http://localhost:5000/x?a=b"):
        assert redact(harmless) == harmless
    assert redact("http://h/?api_key=12&x=3") == "http://h/?api_key=***&x=3"
    inner = "s3://bucket/x?endpoint_override=http://a:b@h:1"
    assert redact(inner) == inner.replace("a:b@", "***@")


SIGNS = "".join(map(chr, range(33, 127)))


@given(st.text(SIGNS, min_size=1), st.text("ab/.", max_size=9), st.sampled_from(["s3", "http"]))
def test_no_sign_of_a_secret_is_shown(secret: str, path: str, scheme: str) -> None:
    hidden = f"--out {scheme}://***@host/{path} --name b"
    assert redact(f"--out {scheme}://key:{secret}@host/{path} --name b") == hidden
    token = secret.replace("/", "-")
    assert redact(f"--out {scheme}://{token}@host/{path} --name b") == hidden

"""Settings: options, then the environment, then a file; and how `routera config` tells of them."""

import os
import stat

import pytest

from routera_async.cli.settings import Connection, config_path
from routera_async.errors import ConfigurationError, from_response
from tests.conftest import TOKEN

STATUSES = (302, 400, 401, 403, 404, 409, 429, 500)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a settings' file that only its owner reads, and name it in ROUTERA_CONFIG."""

    def written(content, mode=0o600):
        path = tmp_path / "settings.toml"
        path.write_text(content)
        path.chmod(mode)
        monkeypatch.setenv("ROUTERA_CONFIG", str(path))
        return path

    return written


@pytest.fixture
def shown(routera):
    """Run `routera config show`, and return {setting: (value, source)}."""

    def rows(*options):
        ended = routera("config", "show", *options)
        assert ended.status == 0, ended.err
        return {each["setting"]: (each["value"], each["source"]) for each in ended.records}

    return rows


def test_options_go_before_the_environment_before_the_file(config, shown, monkeypatch):
    """Each setting is taken from the first place that has it, and config show names the place."""
    path = config('base_url = "https://file.example"\ntimeout = 3\ndeadline = 7.5\n')
    monkeypatch.setenv("ROUTERA_BASE_URL", "https://environment.example/")
    monkeypatch.setenv("ROUTERA_TIMEOUT", "5")
    told = shown("--timeout", "9")
    assert told["timeout"] == (9.0, "--timeout")
    assert told["base_url"] == ("https://environment.example", "ROUTERA_BASE_URL")
    assert told["deadline"] == (7.5, str(path))
    assert told["token"] == (None, "not set")


def test_defaults_are_told(shown):
    """What nobody has set has its default, and is said to."""
    told = shown()
    assert told["base_url"] == ("https://api.routera.io", "default")
    assert told["timeout"] == (30.0, "default")


@pytest.mark.parametrize("name", ["table", "json", "jsonl", "csv"])
def test_secrets_are_masked(config, routera, monkeypatch, name):
    """No format shows a token or a client's secret, nor a part of one."""
    config(f'token = "{TOKEN}"\nclient_id = "me"\n')
    monkeypatch.setenv("ROUTERA_CLIENT_SECRET", "hush-hush-hush")
    out = routera("config", "show", "--format", name).out
    assert "********" in out
    assert not [at for at in range(len(TOKEN) - 8) if TOKEN[at : at + 8] in out]
    assert "hush" not in out


PROXY = "http://me:hush-hush@127.0.0.1:{port}"


@pytest.mark.parametrize("name", ["table", "json", "jsonl", "csv"])
def test_a_proxys_password_is_masked(config, routera, monkeypatch, name):
    """Where a proxy is can be read, and neither its user nor its password."""
    config(f'proxy = "{PROXY.format(port=3128)}"\n')
    for _ in range(2):
        out = routera("config", "show", "--format", name).out
        assert "http://********@127.0.0.1:3128" in out
        assert "hush" not in out
        monkeypatch.setenv("ROUTERA_PROXY", "http://hush:hush@127.0.0.1:3128")
    assert "http://far:1" in routera("config", "show", "--proxy", "http://far:1").out


@pytest.mark.parametrize("place", ["--proxy", "ROUTERA_PROXY", "file"])
def test_a_proxy_is_used(api, routera, config, monkeypatch, place):
    """A proxy of each place is what every request goes through: where none listens, none goes."""
    proxy, options = PROXY.format(port=1), ["--deadline", "0.5"]
    match place:
        case "--proxy":
            options += ["--proxy", proxy]
        case "ROUTERA_PROXY":
            monkeypatch.setenv("ROUTERA_PROXY", proxy)
        case "file":
            config(f'proxy = "{proxy}"\n')
    ended = routera("tickets", "list", *options)
    assert (ended.status, ended.error[:17]) == (3, "error: not sent: ")
    assert "hush" not in ended.err
    assert api.seen() == []


def test_credentials_come_from_one_place_together(config, shown, monkeypatch):
    """Those in the environment go before a token in the file, which is then not used."""
    path = config(f'token = "{TOKEN}"\nclient_id = "me"\n')
    assert shown()["token"] == ("********", str(path))
    assert shown()["client_id"] == ("me", f"{path} (not used)")
    monkeypatch.setenv("ROUTERA_CLIENT_ID", "you")
    monkeypatch.setenv("ROUTERA_CLIENT_SECRET", "hush")
    assert shown()["token"] == ("********", f"{path} (not used)")
    assert shown()["client_id"] == ("you", "ROUTERA_CLIENT_ID")


def test_a_token_of_each_place_is_used(api, routera, config, tmp_path, monkeypatch):
    """A token's file, an API client's id and secret, and the settings' file all open the API."""
    token = api.sandbox.token
    monkeypatch.delenv("ROUTERA_TOKEN")
    held = tmp_path / "token"
    held.write_text(f"{token}\n")
    held.chmod(0o600)
    assert routera("tickets", "list", "--token-file", held).status == 0
    config(f'token = "{token}"\n')
    assert routera("tickets", "list").status == 0
    config(f'client_id = "{api.sandbox.client_id}"\n')
    monkeypatch.setenv("ROUTERA_CLIENT_SECRET", api.sandbox.client_secret)
    ended = routera("tickets", "list")
    assert (ended.status, ended.err) == (0, "")
    assert api.seen()[-2][1] == "/oauth2/token"


def test_a_refusal_names_the_place_of_what_was_refused(api, routera, config, tmp_path, monkeypatch):
    """A 401 says where the token was set, by whatever it was, and shows nothing of it."""
    secrets = (*api.sandbox.token.split("."), api.sandbox.client_secret)

    def refused(*options):
        api.sandbox.faults.script(*["refused_token"] * 2)
        ended = routera("tickets", "archive", "any", *options)
        assert ended.status == 1
        assert not [secret for secret in secrets if secret in ended.err]
        said, _, rest = ended.error.partition("; check ")
        assert said.startswith("error: refused: 401: ")
        where, _, why = rest.partition(" that is set by ")
        source, _, why = why.partition(": ")
        assert why == f"it is wrong, has expired, or is not for {api.sandbox.url}"
        return where, source

    token = api.sandbox.token
    assert refused() == ("the token", "ROUTERA_TOKEN")
    held = tmp_path / "token"
    held.write_text(token)
    held.chmod(0o600)
    assert refused("--token-file", held) == (f"the token in {held}", "--token-file")
    monkeypatch.delenv("ROUTERA_TOKEN")
    path = config(f'token = "{token}"\n')
    assert refused() == ("the token", str(path))
    path = config(f'client_id = "{api.sandbox.client_id}"\n')
    monkeypatch.setenv("ROUTERA_CLIENT_SECRET", api.sandbox.client_secret)
    assert refused() == ("the API client", f"{path} and ROUTERA_CLIENT_SECRET")


def test_who_may_not_is_told(monkeypatch):
    """A 403 says whose account it is; no other error is one of who we are."""
    monkeypatch.setenv("ROUTERA_TOKEN", TOKEN)
    settings = Connection().settings()
    told = {
        status: settings.advice(from_response(status, {}, b"", now=None)) for status in STATUSES
    }
    assert told.pop(403) == "; the account is that of the token that is set by ROUTERA_TOKEN"
    assert told.pop(401).startswith("; check the token ")
    assert set(told.values()) == {""}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('tokn = "x"', "has no setting 'tokn' (did you mean 'token'?)"),
        ("[routera]\n", "has no setting 'routera'; there are base_url, token,"),
        ('timeout = "fast"', "timeout must be a number of seconds, not 'fast'"),
        ("timeout = -1", "timeout must be a finite number of seconds, more than 0"),
        ("timeout = true", "timeout must be a number of seconds"),
        ("client_id = 5", "client_id must be a text"),
        ('proxy = "hush"', "proxy: proxy must be http://"),
        ("proxy = 5", "proxy: proxy must be http://"),
        ('base_url = "api.routera.io"', "base_url: base_url must begin with https://"),
        ("base_url = 5", "base_url must be a text"),
        ('token = ""', "token must be a text"),
        ('token = "hush hush"', "token: the token is unfit for a header"),
        ("timeout = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(config, routera, content, says):
    """A wrong key or value is told with the file and the key, never a secret; exit 2."""
    path = config(content)
    ended = routera("tickets", "list")
    assert ended.status == 2
    assert ended.error.startswith(f"error: {path}: ")
    assert says in ended.error
    assert "hush" not in ended.err


@pytest.mark.parametrize(
    ("environment", "options", "says"),
    [
        ({"TIMEOUT": "soon"}, [], "ROUTERA_TIMEOUT must be a number of seconds, not 'soon'"),
        ({"BASE_URL": "ftp://x"}, [], "ROUTERA_BASE_URL: base_url must begin with https://"),
        ({"TOKEN": "a b"}, [], "ROUTERA_TOKEN: the token is unfit"),
        ({"PROXY": "me:hush@far"}, [], "ROUTERA_PROXY: proxy must be http://"),
        ({}, ["--proxy", "ftp://far"], "--proxy: proxy must be http://"),
        ({"CLIENT_ID": "me"}, [], "client_id is set by ROUTERA_CLIENT_ID, and no client_secret is"),
        ({"CLIENT_SECRET": "x"}, [], "client_secret is set by ROUTERA_CLIENT_SECRET, and no"),
        ({}, [], "no token: set ROUTERA_TOKEN"),
        ({}, ["--timeout", "0"], "--timeout must be a finite number of seconds, more than 0"),
        ({}, ["--base-url", ""], "--base-url: "),
        ({}, ["--token-file", "nowhere"], "nowhere: cannot be read"),
        ({"CONFIG": "nowhere.toml"}, [], "ROUTERA_CONFIG: nowhere.toml: no such file"),
        ({"CONFIG": "."}, [], "cannot be read"),
    ],
)
def test_a_wrong_setting_is_one_line(routera, monkeypatch, environment, options, says):
    """What is wrong in the environment or an option is named as it was written; exit 2."""
    for name, value in environment.items():
        monkeypatch.setenv(f"ROUTERA_{name}", value)
    ended = routera("tickets", "list", *options)
    assert ended.status == 2
    assert ended.error.startswith(f"error: {says}") or says in ended.error


def test_a_file_that_is_no_text_is_told(config, routera, tmp_path):
    """Bytes that are not UTF-8 are no settings, and no token."""
    config("").write_bytes(b"\xff")
    assert "not UTF-8 at byte 1" in routera("tickets", "list").error
    config("").write_bytes(b"")
    (tmp_path / "token").write_bytes(b"\xff")
    ended = routera("tickets", "list", "--token-file", tmp_path / "token")
    assert "holds no token" in ended.error


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such bits")
@pytest.mark.parametrize(
    ("content", "mode", "warns"),
    [
        (f'token = "{TOKEN}"', 0o644, True),
        ('client_secret = "x"', 0o640, True),
        (f'token = "{TOKEN}"', 0o600, False),
        ("timeout = 5", 0o644, False),
        ('proxy = "http://a:b@far"', 0o644, True),
        ('proxy = "http://far"', 0o644, False),
    ],
)
def test_a_secret_that_others_can_read_is_warned_of(config, routera, content, mode, warns):
    """Once, on standard error, and only when there is a secret in the file."""
    path = config(content, mode)
    ended = routera("config", "show")
    assert ended.status == 0
    told = f"warning: {path} holds a secret and others can read it: chmod 600 {path}\n"
    assert ended.err == (told if warns else "")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_path_of_the_file(routera, monkeypatch, tmp_path):
    """It is the platform's own place, or what ROUTERA_CONFIG names, there or not."""
    assert routera("config", "path").out.strip() == str(config_path())
    assert config_path().parts[-2:] == ("routera", "config.toml")
    monkeypatch.setenv("ROUTERA_CONFIG", str(tmp_path / "mine.toml"))
    assert routera("config", "path").out.strip() == str(tmp_path / "mine.toml")


def test_no_repr_shows_a_secret():
    """Settings may stand in a traceback: neither they nor their values show what is secret."""
    settings = Connection().settings({"ROUTERA_TOKEN": TOKEN, "ROUTERA_CONFIG": ""})
    assert TOKEN not in repr(settings)
    assert "hush" not in repr(Connection(proxy="http://a:hush@far"))
    with pytest.raises(ConfigurationError) as caught:
        Connection().settings({"ROUTERA_TOKEN": f"{TOKEN}\n{TOKEN}"})
    assert TOKEN not in str(caught.value)

#!/usr/bin/env python3
"""Drives the real program over HTTP, as somebody would who has only its manual.

    life.py PROGRAM

It needs nothing but Python. Every step prints a line; the first that goes wrong
ends the script with status 1.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.parse

NAME, PASSWORD = "ada", "correct horse battery staple"


class Browser:
    """A client with cookies of its own, which reads the attributes itself."""

    def __init__(self, address, agent):
        self.address, self.agent, self.cookies = address, agent, {}

    def send(self, method, path, body=None, html=False, **headers):
        conn = http.client.HTTPConnection(self.address, timeout=10)
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        headers["User-Agent"] = self.agent
        headers["Accept"] = "text/html,*/*;q=0.5" if html else "application/json"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        if isinstance(body, dict) and html:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(body)
        elif body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        conn.request(method, path, body, headers)
        resp = conn.getresponse()
        resp.text = resp.read().decode()
        for line in resp.headers.get_all("Set-Cookie") or []:
            pair, *attributes = line.split("; ")
            name, value = pair.split("=", 1)
            if name.endswith("session"):
                resp.set_cookie = line
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        conn.close()
        return resp

    def token(self, path):
        """The CSRF token of a page's form."""
        return re.search(r'name="csrf_token" value="([^"]+)"', self.send("GET", path, html=True).text).group(1)

    def session(self):
        return self.send("GET", "/auth/session")

    def csrf(self):
        return json.loads(self.session().text)["csrf_token"]

    def login_json(self):
        r = self.send("POST", "/auth/login", {"username": NAME, "password": PASSWORD})
        check(r.status == 200, "login by JSON: 200", r)
        return r

    def logout(self):
        return self.send("POST", "/auth/logout", {}, X_CSRF_Token=self.csrf())

    def sessions(self):
        r = self.send("GET", "/auth/sessions")
        check(r.status == 200, "list of sessions: 200", r)
        return json.loads(r.text)["sessions"]


class Program:
    def __init__(self, program, folder):
        self.process = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0"], cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.address = re.search(r"http://([^/\s]+)", line).group(1)

    def setup_link(self):
        return re.search(r"http://[^/\s]+(/auth/setup\?token=(\S+))", self.process.stdout.readline()).groups()

    def stop(self, sig):
        self.process.send_signal(sig)
        status = self.process.wait(20)
        check(status == (0 if sig == signal.SIGTERM else -sig), f"program ends after {sig.name}: {status}")


def check(good, what, resp=None):
    if not good:
        print("WRONG:", what, "" if resp is None else (resp.status, resp.text[:500], resp.getheaders()))
        sys.exit(1)
    print("ok:", what)


def set_up(p):
    """Setup link, administrator, logout."""
    first = Browser(p.address, "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0")
    check(first.session().status == 401, "a stranger: 401")
    path, token = p.setup_link()
    for _ in range(2):  # a GET claims nothing
        r = first.send("GET", path, html=True)
        check(r.status == 200, "setup page: 200", r)
    r = first.send("POST", "/auth/setup", {"token": token, "username": NAME, "password": PASSWORD})
    check(r.status == 201 and json.loads(r.text)["user"]["roles"] == ["admin"], "setup: 201, an administrator", r)
    check(first.session().status == 200, "setup signs in: 200")
    r = Browser(p.address, "curl/8").send("POST", "/auth/setup", {"token": token, "username": "eve", "password": PASSWORD})
    check(r.status == 410, "setup a second time: 410", r)
    saved = dict(first.cookies)
    r = first.send("POST", "/auth/logout", {})
    check(r.status == 403, "logout without a token: 403", r)
    r = first.logout()
    check(r.status == 204, "logout: 204", r)
    first.cookies = saved
    check(first.session().status == 401, "the saved cookie of the logout: 401")
    first.cookies = {}
    return first


def log_in(p, first):
    """Login by form and JSON, two devices, one ends the other."""
    for wrong in ({"username": NAME, "password": "wrong"}, {"username": "nobody", "password": PASSWORD}):
        r = first.send("POST", "/auth/login", wrong)
        check(r.status == 401 and json.loads(r.text)["detail"] == "Invalid credentials", "wrong login: 401", r)
    r = first.send("POST", "/auth/login", {
        "csrf_token": first.token("/auth/login?next=/auth/sessions"),
        "username": NAME, "password": PASSWORD, "next": "/auth/sessions"}, html=True)
    check(r.status == 303 and r.getheader("Location") == "/auth/sessions", "login by form: 303 to next", r)
    shape = r"__Host-session=[A-Za-z0-9_-]{71}; Path=/; HttpOnly; Secure; SameSite=Lax"
    check(re.fullmatch(shape, r.set_cookie) and len(r.set_cookie) < 130, "the cookie's shape and length", r)
    check(json.loads(first.session().text)["user"]["name"] == NAME, "GET /auth/session says who")

    second = Browser(p.address, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36")
    check(json.loads(second.login_json().text)["user"]["name"] == NAME, "a second device signs in")
    listed = first.sessions()
    check(sorted(s["current"] for s in listed) == [False, True], "two sessions, one of them this one")
    other = next(s for s in listed if not s["current"])
    check("Chrome" in other["device"] and "Windows" in other["device"], f"the other is {other['device']!r}")
    r = first.send("DELETE", "/auth/sessions/" + other["handle"], X_CSRF_Token=first.csrf())
    check(r.status == 204, "end the other: 204", r)
    check(second.session().status == 401, "its next request: 401")
    check(first.session().status == 200, "this one goes on: 200")
    return second


def survive(p, program, folder, sig):
    """Stop and start again: what lives goes on, what has ended stays ended."""
    live, ended = Browser(p.address, "live"), Browser(p.address, "ended")
    live.login_json(), ended.login_json()
    saved = dict(ended.cookies)
    r = ended.logout()
    check(r.status == 204, "logout: 204", r)
    p.stop(sig)
    p = Program(program, folder)
    live.address = ended.address = p.address
    ended.cookies = saved
    check(live.session().status == 200, f"after {sig.name} the live session lives")
    check(ended.session().status == 401, f"after {sig.name} the ended session stays ended")
    return p


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        p = Program(program, folder)
        try:
            log_in(p, set_up(p))
            p = survive(p, program, folder, signal.SIGTERM)
            p = survive(p, program, folder, signal.SIGKILL)
            p.stop(signal.SIGTERM)
        finally:
            p.process.kill()


main()

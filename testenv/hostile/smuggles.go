package hostile

import (
	"slices"
	"strings"
)

// request begins a request; further header lines and a blank one follow.
func request(line string, lines ...string) string {
	return line + " HTTP/1.1\r\nHost: {host}\r\n" + strings.Join(lines, "")
}

const (
	auth   = "Authorization: Bearer {token}\r\n"
	isJSON = "Content-Type: application/json\r\n"
	blank  = "\r\n"
	hidden = "GET /v1/whoami HTTP/1.1\r\nHost: {host}\r\n\r\n" // without a token
	commit = "POST /v1/uploads/none/commit"
	whoami = "GET /v1/whoami"
)

// Smuggles are the attacks on the listener.
func Smuggles() []Smuggle {
	var all []Smuggle
	add := func(group, name, raw string, check func([]Answer) string) {
		all = append(all, Smuggle{group, name, raw, check})
	}
	framing(add)
	identity(add)
	redirection(add)
	forms(add)
	slices.SortStableFunc(all, func(a, b Smuggle) int { return strings.Compare(a.Title(), b.Title()) })
	return all
}

type adder = func(group, name, raw string, check func([]Answer) string)

// framing says the length of a body twice, or in a form of its own. What follows by one reading is hidden by the other.
func framing(add adder) {
	const group = "framing"
	body := func(lines, rest string) string { return request(commit, auth, isJSON, lines) + blank + rest }
	add(group, "Content-Length and chunked", body("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"+hidden), letIn(0))
	add(group, "chunked and Content-Length", body("Transfer-Encoding: chunked\r\nContent-Length: 300\r\n", "0\r\n\r\n"+hidden), letIn(0))
	add(group, "hidden in a chunk", body("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "3a\r\n"+strings.ReplaceAll(hidden, "{host}", "a.b")+strings.Repeat(" ", 0x3a-len(strings.ReplaceAll(hidden, "{host}", "a.b")))+"\r\n0\r\n\r\n"), letIn(0))
	for name, lines := range map[string]string{
		"chunked, then identity": "Transfer-Encoding: chunked, identity\r\n", "identity": "Transfer-Encoding: identity\r\n", "twice chunked": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"an unknown coding": "Transfer-Encoding: xchunked\r\n", "gzip, chunked": "Transfer-Encoding: gzip, chunked\r\n", "a blank before the colon": "Transfer-Encoding : chunked\r\n",
		"a tab in the coding": "Transfer-Encoding:\tchunked\x0b\r\n", "a NUL in the coding": "Transfer-Encoding: chunked\x00\r\n", "a quoted coding": "Transfer-Encoding: \"chunked\"\r\n",
		"two lengths": "Content-Length: 0\r\nContent-Length: 54\r\n", "a list of lengths": "Content-Length: 0, 54\r\n", "a signed length": "Content-Length: +54\r\n", "a negative length": "Content-Length: -1\r\n",
		"a length in hex": "Content-Length: 0x36\r\n", "a length and a letter": "Content-Length: 54a\r\n", "a length too great": "Content-Length: 99999999999999999999\r\n", "a blank before the colon of a length": "Content-Length : 54\r\n",
		"a header without a name": ": 54\r\n", "a header without a colon": "Content-Length\r\n", "a NUL in a name": "Content\x00Length: 54\r\n", "a carriage return in a name": "X\rContent-Length: 54\r\n",
	} {
		add(group, name, body(lines, hidden), first(400, 501))
	}
	for name, lines := range map[string]string{
		"a folded coding": "Transfer-Encoding:\r\n chunked\r\n", "a folded length": "Content-Length:\r\n 0\r\n", "bare line feeds": "Content-Length: 0\n", "an underscore": "Content-Length: 0\r\nContent_Length: 54\r\n",
		"a coding with capitals": "Transfer-Encoding: CHUNKED\r\n",
	} {
		add(group, name, body(lines, "0\r\n\r\n"+hidden), letIn(0))
	}
	const chunked = "Transfer-Encoding: chunked\r\n"
	for name, rest := range map[string]string{
		"a chunk too great": "fffffffffffffffff\r\n", "a negative chunk": "-1\r\n", "a chunk in hex": "0x5\r\nhello\r\n", "a chunk longer than it says": "2\r\n{}{}\r\n0\r\n\r\n", "a chunk that ends in a line feed": "2\n{}\n0\n\n",
		"an extension with a line feed": "2;a\nb\r\n{}\r\n0\r\n\r\n", "a long extension": "2;" + strings.Repeat("a", 20_000) + "\r\n{}\r\n0\r\n\r\n",
	} {
		add(group, name, body(chunked, rest+hidden), letIn(0))
	}
}

// identity says who one is in two ways, or where nobody should look.
func identity(add adder) {
	const group = "identity"
	for name, lines := range map[string]string{
		"two tokens": auth + "Authorization: Bearer {other}\r\n", "one token twice": auth + auth, "two tokens, joined": "Authorization: Bearer {token}, Bearer {other}\r\n", "two tokens, one header": "Authorization: Bearer {token} {other}\r\n",
		"a token and an empty one": auth + "Authorization:\r\n", "another scheme first": "Authorization: Basic eDp5\r\n" + auth, "a token without a scheme": "Authorization: {token}\r\n", "a token in quotes": "Authorization: Bearer \"{token}\"\r\n",
		"a token behind two blanks": "Authorization: Bearer  {token}\r\n", "a token and a NUL": "Authorization: Bearer {token}\x00\r\n", "a token and a letter": "Authorization: Bearer {token}x\r\n", "an underscore": "Authorization_: Bearer {token}\r\n",
		"a proxy's": "Proxy-Authorization: Bearer {token}\r\n", "a cookie": "Cookie: token={token}; access_token={token}\r\n", "a forwarded user": "X-Forwarded-User: owner\r\nX-Remote-User: owner\r\nRemote-User: owner\r\nX-Authenticated-User: owner\r\n",
		"a forwarded address": "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n", "a token's id": "X-Token-Id: {token}\r\nX-Api-Key: {token}\r\nX-Auth-Token: {token}\r\n",
	} {
		add(group, name, request(whoami, lines)+blank, first(400, 401))
	}
	for _, path := range []string{"/v1/whoami?token={token}", "/v1/whoami?access_token={token}", "/v1/whoami?Authorization=Bearer%20{token}", "/v1/whoami;token={token}"} {
		add(group, "a query, "+strings.ReplaceAll(path, "{token}", "TOKEN"), request("GET "+path)+blank, first(401))
	}
	add(group, "user information in the URL", "GET http://x:{token}@{host}/v1/whoami HTTP/1.1\r\nHost: {host}\r\n\r\n", first(400, 401))
	add(group, "the one before on the connection", request(whoami, auth)+blank+hidden, letIn(1))
	add(group, "a trailer", request(commit, isJSON, "Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n")+blank+"c\r\n{\"files\":[]}\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n", first(401))
	add(group, "an upgrade", request(whoami, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")+blank, first(400, 401))
	add(group, "HTTP/2 beforehand", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+hidden, letIn(0))
}

// redirection names another method, path or host than the request has.
func redirection(add adder) {
	const group = "redirection"
	for _, header := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		add(group, header, request("GET /v1/models/subject/versions/1", auth, header+": DELETE\r\n")+blank+request("GET /v1/models/subject/versions/1", auth)+blank, without(`"code"`, true))
	}
	add(group, "_method", request("GET /v1/models/subject/versions/1?_method=DELETE", auth)+blank, first(400))
	for _, header := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Path", "X-Forwarded-Prefix"} {
		add(group, header, request("GET /healthz", header+": /v1/whoami\r\n", auth)+blank, letIn(0))
		add(group, header+" without a token", request("GET /healthz", header+": /v1/models/subject\r\n")+blank, without("scope", true))
	}
	for _, lines := range []string{"X-Forwarded-Host: evil.example\r\n", "X-Forwarded-Proto: evil.example\r\n", "Forwarded: host=evil.example\r\n", "X-Host: evil.example\r\n", "X-Forwarded-Server: evil.example\r\n"} {
		name, _, _ := strings.Cut(lines, ":")
		add(group, name+" in a link", request("GET /api/models/subject/tree/main?limit=1", auth, lines)+blank, without("evil.example", true))
		add(group, name+" in a redirect", request("GET /subject/resolve/main/w.safetensors", auth, lines)+blank, without("evil.example", false))
	}
	for name, host := range map[string]string{"two hosts": "Host: evil.example\r\nHost: {host}\r\n", "a host with a path": "Host: {host}/evil.example\r\n", "a host with a user": "Host: evil.example@{host}\r\n", "a host with a blank": "Host: {host} evil.example\r\n"} {
		add(group, name, "GET /v1/models/subject HTTP/1.1\r\n"+host+auth+blank, without("http://evil", false))
	}
	for _, path := range []string{"/v1/models/subject/versions/1/files/w.safetensors", "/v1/models"} {
		add(group, "another host, "+path, "GET "+path+" HTTP/1.1\r\nHost: evil.example\r\n"+auth+blank, without("http://evil", false))
		add(group, "an absolute URL, "+path, "GET http://evil.example"+path+" HTTP/1.1\r\nHost: {host}\r\n"+auth+blank, without("http://evil", false))
	}
	for _, path := range []string{"/v1/../v1/whoami", "/healthz/../v1/whoami", "/healthz%2f..%2fv1%2fwhoami", "//v1/whoami", "/./v1/whoami", "/v1//whoami", "/healthz;/v1/whoami", "/HEALTHZ/../v1/whoami", "/openapi.yaml/v1/whoami", "/v1/whoami%00", "/%76%31/whoami", "/v1/whoami/", "/healthz?/v1/whoami", "\\v1\\whoami"} {
		add(group, "around the gate, "+path, request("GET "+path)+blank, letIn(0))
	}
}

// forms are what is no request, or writes to where requests are noted.
func forms(add adder) {
	const group = "form"
	for name, id := range map[string]string{"a folded id": "a\r\n\t" + Forged, "a line feed in an id": "a\n" + Forged + ": x", "an escaped line feed": "a%0a" + Forged, "a long id": strings.Repeat("a", 10_000), "a quote in an id": `a" ` + Forged + `="x`} {
		add(group, name, request("GET /v1/models", auth, "X-Request-Id: "+id+"\r\n")+blank, without("x-request-id: a\n"+Forged, false))
	}
	for name, path := range map[string]string{"a line in a path": "/v1/models/%0a" + Forged + "%20level=ERROR", "a line in a version": "/v1/models/subject/versions/%0d%0a" + Forged, "an escape of a terminal": "/v1/%1b%5b2J" + Forged, "a line in a repository": "/%0a" + Forged + "/resolve/main/x"} {
		add(group, name, request("GET "+path, auth)+blank, without("\n"+Forged, false))
	}
	add(group, "a line in an agent", request("GET /v1/models", auth, "User-Agent: a\r\n\t"+Forged+"\r\n")+blank, without(Forged, false))
	for _, method := range []string{"TRACE", "CONNECT", "OPTIONS", "FOO", "get", "G\x00T", "PROPFIND", strings.Repeat("A", 5000)} {
		add(group, "method "+strings.ToValidUTF8(method[:min(len(method), 8)], ""), request(method+" /v1/whoami", auth)+blank, letIn(0))
	}
	add(group, "no path", "GET  HTTP/1.1\r\nHost: {host}\r\n"+auth+blank, letIn(0))
	add(group, "a star", request("GET *", auth)+blank, letIn(0))
	add(group, "HTTP/0.9", "GET /v1/whoami\r\n", letIn(0))
	add(group, "HTTP/3.0", "GET /v1/whoami HTTP/3.0\r\nHost: {host}\r\n"+auth+blank, letIn(0))
	add(group, "no host", "GET /v1/whoami HTTP/1.1\r\n"+auth+blank, first(400))
	add(group, "an expectation", request(commit, auth, isJSON, "Content-Length: 2\r\nExpect: nonsense\r\n")+blank+"{}", letIn(0))
	add(group, "a header too long", request(whoami, auth, "X: "+strings.Repeat("a", 80_000)+"\r\n")+blank, first(431))
	add(group, "headers too many", request(whoami, auth, strings.Repeat("X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 2200))+blank, first(431))
	add(group, "a path too long", request("GET /v1/models/"+strings.Repeat("a", 80_000), auth)+blank, first(414, 431))
}

package keyring_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// comparable lists the comparisons that look like those of secrets, in the packages
// that hold some, and why each may take as long as it likes. All others go through
// crypto/subtle or crypto/hmac.
var comparable = map[string]string{
	"keyring: text != raw":                               "a text against its own beginning, while keys are read",
	"guessable: strings.ToLower(text) == text":           "a text against itself, while keys are read",
	"guessable: strings.ToUpper(text) == text":           "a text against itself, while keys are read",
	"guessable: strings.EqualFold(p, text)":              "against what everybody knows, while keys are read",
	"guessable: int(text[i]) == int(text[i - 1]) + step": "whether a secret was typed, while keys are read",
	"guessable: text[i] == rows[at + 1]":                 "whether a secret was typed, while keys are read",
	"guessable: text[i] == text[last + 2]":               "whether a secret was typed, while keys are read",
	"guessable: bytes.Equal(upper, plain)":               "two forms of what everybody knows",
	"guessable: int(small(text[i])) == want":             "whether a secret was typed, while keys are read",
	"guessable: kind(text[i]) != kind(text[i - 1])":      "whether a path looks like a secret, where a message shows it",
	"keyring: a.material == b.material":                  "two pointers; what they lead to is compared behind it, in constant time",

	"cloakroom: bytes.Compare(a[:], b[:])": "ids of keys, which stand in cookies for everybody to read",

	"agekeys: bytes.HasPrefix(text, []byte(\"-----\"))":                         "how a ciphertext begins",
	"dotenv: p.text[p.at] == quote":                                             "a quotation mark",
	"gcpsecrets: sum != int64(crc32.Checksum(answer.Payload.Data, castagnoli))": "the server's word against what came from it",
	"vault: s.token == t":                                                       "two pointers: whether there was another login meanwhile",
	"remote: bytes.Equal(text[start:end], raw)":                                 "a text against a piece of itself",

	"cloakroom: strings.EqualFold(strings.Trim(item, \" \\t\"), token)": "a token in the sense of RFC 9110, no secret",
	"cloakroom: a.renewal == renewToken":                                "a state, no secret",
	"cloakroom: b.token == p.token":                                     "two tokens of one request, and each has been verified: who sent them knows both",
	"cloakroom: bytes.Equal(a.now.values, a.stored.values)":             "values of one session, before and after its changes; the visitor has neither",
	"cloakroom: bytes.Equal(newest.Data, rec.Data)":                     "sealed data, ours against the store's; the visitor has neither",
	"cloakroom: bytes.Equal(v, old)":                                    "values of one session, before and after its changes; the visitor has neither",

	"auth: now.Password == phc":           "two hashes of one user, ours against the database's; the visitor has neither",
	"auth: now.Password != user.Password": "two hashes of one user, both the database's; the visitor has neither",
}

// secretName is how what is secret, or computed from it, ends in its name.
var secretName = regexp.MustCompile(`(?i)(secret|token|tag|mac|sum|digest|password|phc|hash|proof|signature|text|material)$`)

// operand is the name at the end of an expression, behind whatever is done to it.
func operand(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.StarExpr:
		return operand(e.X)
	case *ast.ParenExpr:
		return operand(e.X)
	case *ast.SliceExpr:
		return operand(e.X)
	case *ast.IndexExpr:
		return operand(e.X)
	case *ast.CallExpr:
		if len(e.Args) == 1 {
			return operand(e.Args[0])
		}
		return operand(e.Fun)
	}
	return ""
}

// constant tells of an operand that says whether there is something, or how long it is.
func constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.CompositeLit:
		return len(e.Elts) == 0
	case *ast.Ident:
		return e.Name == "nil"
	case *ast.CallExpr:
		f, ok := e.Fun.(*ast.Ident)
		return ok && f.Name == "len"
	case *ast.ParenExpr:
		return constant(e.X)
	}
	return false
}

// comparisons returns the comparisons of secrets in a file that end at the first
// difference.
func comparisons(file *ast.File) (found []string) {
	suspect := func(args ...ast.Expr) bool {
		return !slices.ContainsFunc(args, constant) &&
			slices.ContainsFunc(args, func(e ast.Expr) bool { return secretName.MatchString(operand(e)) })
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && suspect(n.X, n.Y) {
				found = append(found, types.ExprString(n))
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && !constant(n.Tag) && secretName.MatchString(operand(n.Tag)) {
				found = append(found, "switch "+types.ExprString(n.Tag))
			}
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				break
			}
			switch types.ExprString(f) {
			case "bytes.Equal", "bytes.Compare": // bytes are seldom anything but secret here
				found = append(found, types.ExprString(n))
			case "slices.Equal", "slices.Compare", "strings.Compare", "strings.EqualFold", "cmp.Compare", "reflect.DeepEqual", "bytes.HasPrefix", "strings.HasPrefix":
				if suspect(n.Args...) {
					found = append(found, types.ExprString(n))
				}
			}
		}
		return true
	})
	return found
}

// Nothing secret is compared in a time that tells how much of it was right.
func TestASVS_11_2_4_SecretsAreComparedInConstantTime(t *testing.T) {
	used := make(map[string]bool)
	for _, dir := range []string{".", "agekeys", "awssecrets", "dotenv", "gcpsecrets", "vault", "../internal/guessable", "../internal/remote", "../internal/secretfile", "..", "../csrf", "../auth"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(paths), err)
		}
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range comparisons(file) {
				id := fmt.Sprintf("%s: %s", file.Name.Name, c)
				if _, ok := comparable[id]; !ok {
					t.Errorf("%s: %s may tell by its time where the two differ; use crypto/subtle, or say here why it may", path, c)
				}
				used[id] = true
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(comparable)) {
		if !used[id] {
			t.Errorf("%q is nowhere any more", id)
		}
	}
}

// The test above sees what it is to see.
func TestASVS_11_2_4_ComparisonsAreFound(t *testing.T) {
	const src = `package p
func f() {
	_ = *a.secret != *b.secret
	_ = string(w.sum[:n]) == tag
	_ = bytes.Equal(x, y)
	_ = strings.EqualFold(csrfToken, r.FormValue("csrf_token"))
	_ = hex.EncodeToString(mac) == given
	switch token {
	case want:
	}
	_, _, _ = secret == nil, token == "", len(tag) != len(sum)
	_ = subtle.ConstantTimeCompare(tag, sum) == 1
}`
	file, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if got := comparisons(file); len(got) != 6 {
		t.Errorf("found %q", got)
	}
}

package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// route is an address of the service.
type route struct {
	pattern string   // as the sources have it: "/auth/sessions/{handle}"
	path    string   // one such address
	methods []string // GET, POST, DELETE; HEAD goes without saying
}

// changes are the methods that may change something.
func (r route) changes() (all []string) {
	if r.path == "/auth/csp-report" {
		return nil // takes what browsers report, of whomever: see 3.4.7
	}
	for _, m := range r.methods {
		if m != http.MethodGet {
			all = append(all, m)
		}
	}
	return all
}

func (r route) has(method string) bool { return slices.Contains(r.methods, method) }

// isAsset tells whether it is the style sheet or a script: addresses that belong to
// nobody, and that caches may keep.
func (r route) isAsset() bool { return asset.MatchString(r.path) }

var asset = regexp.MustCompile(`\.(css|js)$`)

// assetNames are the names of style sheet and script behind the prefix, as a page
// with both has them.
var assetNames = func() func(t *testing.T) map[string]string {
	var names map[string]string
	return func(t *testing.T) map[string]string {
		t.Helper()
		if names == nil {
			s := start(t, t.TempDir())
			page := s.client().page(strings.TrimPrefix(s.await(linkLine), s.URL))
			found := make(map[string]string)
			for name, link := range map[string]string{
				"styleName": `<link rel="stylesheet" href="/auth([^"]+\.css)">`, "scriptName": `<script src="/auth([^"]+\.js)" defer></script>`,
			} {
				m := regexp.MustCompile(link).FindStringSubmatch(page.body)
				if m == nil {
					t.Fatalf("no %s in the page:\n%s", name, page.body)
				}
				found[name] = m[1]
			}
			names = found
		}
		return names
	}
}()

// routes are all addresses of the service, read from where package web names
// them: an address that is added there is put to the same tests without a word
// here. The service is asked whether it has each of them with these methods.
func routes(t *testing.T, c *client) []route {
	t.Helper()
	files, err := filepath.Glob("internal/web/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	rd := &routeReader{t: t, fset: token.NewFileSet(), assets: assetNames(t), found: make(map[string][]string)}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(rd.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		rd.file(file)
	}
	if rd.handles != 2 {
		t.Fatalf("package web calls the mux's Handle %d times: this test knows two, for the map of routes and for what is not found", rd.handles)
	}
	var all []route
	for pattern, methods := range rd.found {
		path := strings.TrimSuffix(pattern, "{$}")
		path = regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(path, "AAAAAAAAAAAAAAAA")
		r := route{pattern, path, methods}
		allow := slices.Clone(methods)
		if r.has("GET") {
			allow = append(allow, "HEAD")
		}
		slices.Sort(allow)
		a := c.do("BREW", path, "")
		if got := a.Header.Get("Allow"); a.StatusCode != 405 || got != strings.Join(allow, ", ") {
			t.Errorf("%s: %d, Allow %q, in the sources %q", pattern, a.StatusCode, got, allow)
		}
		all = append(all, r)
	}
	if len(all) < 13 {
		t.Fatalf("only %d routes: %v", len(all), rd.found)
	}
	slices.SortFunc(all, func(a, b route) int { return strings.Compare(a.pattern, b.pattern) })
	return all
}

// routeReader finds the entries of maps from patterns to methods.
type routeReader struct {
	t       *testing.T
	fset    *token.FileSet
	assets  map[string]string   // what s.pages.styleName stands for, and others
	found   map[string][]string // methods by pattern
	handles int
}

func (rd *routeReader) file(file *ast.File) {
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		local := make(map[string]string)
		ast.Inspect(fn, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				rd.assignment(n, local)
			case *ast.CompositeLit:
				if m, ok := n.Type.(*ast.MapType); ok && isMethods(m.Value) {
					for _, e := range n.Elts {
						kv := e.(*ast.KeyValueExpr)
						rd.entry(kv.Key, kv.Value, local)
					}
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) == 2 && (sel.Sel.Name == "Handle" || sel.Sel.Name == "HandleFunc") {
					rd.handles++
				}
			}
			return true
		})
	}
}

// assignment notes a local text, or takes routes["…"] = methods{…}.
func (rd *routeReader) assignment(n *ast.AssignStmt, local map[string]string) {
	for i, left := range n.Lhs {
		if i >= len(n.Rhs) {
			return
		}
		switch left := left.(type) {
		case *ast.Ident:
			if s, ok := rd.text(n.Rhs[i], local); ok {
				local[left.Name] = s
			}
		case *ast.IndexExpr:
			if lit, ok := n.Rhs[i].(*ast.CompositeLit); ok && isMethods(lit.Type) {
				rd.entry(left.Index, lit, local)
			}
		}
	}
}

func isMethods(e ast.Expr) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == "methods"
}

func (rd *routeReader) entry(key, value ast.Expr, local map[string]string) {
	pattern, ok := rd.text(key, local)
	lit, isLit := value.(*ast.CompositeLit)
	if !ok || !isLit {
		rd.t.Fatalf("%s: this test cannot read the route", rd.fset.Position(key.Pos()))
	}
	for _, e := range lit.Elts {
		name := ""
		switch k := e.(*ast.KeyValueExpr).Key.(type) {
		case *ast.Ident:
			name = map[string]string{"get": "GET", "post": "POST", "del": "DELETE", "put": "PUT", "patch": "PATCH"}[k.Name]
		case *ast.SelectorExpr:
			name = strings.ToUpper(strings.TrimPrefix(k.Sel.Name, "Method"))
		}
		if name == "" {
			rd.t.Fatalf("%s: this test cannot read the method", rd.fset.Position(e.Pos()))
		}
		rd.found[pattern] = append(rd.found[pattern], name)
	}
}

// text is the value of a text made of literals, the prefix and local names.
func (rd *routeReader) text(e ast.Expr, local map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		s, ok := local[e.Name]
		return s, ok
	case *ast.BinaryExpr:
		x, ok := rd.text(e.X, local)
		y, ok2 := rd.text(e.Y, local)
		return x + y, ok && ok2 && e.Op == token.ADD
	case *ast.SelectorExpr:
		if e.Sel.Name == "Prefix" {
			return "/auth", true
		}
		name, ok := rd.assets[e.Sel.Name]
		return name, ok
	}
	return "", false
}

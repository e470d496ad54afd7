package house_test

import (
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"testing"
)

// public are types with arrays of bytes that are no secrets.
var public = map[string]string{
	"keyring.KeyID":      "a hash of the key, cut",
	"store.ID":           "a hash of the token",
	"throttle.Key":       "a hash of what is counted",
	"password.PepperKey": "a key's ID",
	"csrf.cookieID":      "a name",
	"agekeys.opened":     "a hash of what is encrypted",
	"auth.device":        "tells browsers apart, and lets nobody in",
}

// declared are the types of the product by package and name, and its functions.
type declared struct {
	types map[string]ast.Expr
	funcs map[string][]*ast.FuncDecl // by package
}

func declarations(t *testing.T) declared {
	t.Helper()
	d := declared{map[string]ast.Expr{}, map[string][]*ast.FuncDecl{}}
	product(t, func(name string, file *ast.File) {
		pkg := path.Base(path.Dir(name))
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				d.funcs[pkg] = append(d.funcs[pkg], decl)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok && decl.Tok == token.TYPE {
						d.types[pkg+"."+spec.Name.Name] = spec.Type
					}
				}
			}
		}
	})
	return d
}

// shown tells whether a value of the type holds an array of bytes that may be a secret:
// of an argument like that a stack shows the first ten.
func (d declared) shown(pkg string, e ast.Expr, depth int) bool {
	if depth > 5 { // types that hold themselves do so by pointer
		return false
	}
	switch e := e.(type) {
	case *ast.ArrayType:
		elem, ok := e.Elt.(*ast.Ident)
		return e.Len != nil && ok && (elem.Name == "byte" || elem.Name == "uint8")
	case *ast.StructType:
		return slices.ContainsFunc(e.Fields.List, func(f *ast.Field) bool { return d.shown(pkg, f.Type, depth+1) })
	case *ast.Ident:
		return d.named(pkg, e.Name, depth)
	case *ast.SelectorExpr:
		if x, ok := e.X.(*ast.Ident); ok {
			return d.named(x.Name, e.Sel.Name, depth)
		}
	}
	return false
}

func (d declared) named(pkg, name string, depth int) bool {
	under, ok := d.types[pkg+"."+name]
	return ok && public[pkg+"."+name] == "" && d.shown(pkg, under, depth+1)
}

// TestPromise11_StacksShowNoSecret: no function takes an array of bytes among its
// arguments, as key material and tokens are. The stack that a crash, or a panic in the
// log, prints would show its first ten bytes; of a pointer or a slice it shows where it
// lies.
func TestPromise11_StacksShowNoSecret(t *testing.T) {
	d := declarations(t)
	seen := 0
	for pkg, funcs := range d.funcs {
		for _, f := range funcs {
			fields := slices.Clone(f.Type.Params.List)
			if f.Recv != nil {
				fields = append(fields, f.Recv.List...)
			}
			for _, field := range fields {
				if seen++; d.shown(pkg, field.Type, 0) {
					t.Errorf("%s.%s takes an array of bytes by value: hand over a pointer, or say in this test why it is no secret", pkg, f.Name.Name)
				}
			}
		}
	}
	if seen < 2000 {
		t.Errorf("only %d arguments", seen)
	}
	for name := range public {
		if d.types[name] == nil {
			t.Errorf("there is no %s any more", name)
		}
	}
}

// TestPromise11_KeysStayInTheirPackage: the exported functions of package keyring that
// return text or bytes are told here, with what it is. Those that give a key away are
// called by these files alone, which print keys on standard output or write them where
// keys are kept.
func TestPromise11_KeysStayInTheirPackage(t *testing.T) {
	harmless := []string{
		"KeyID.String", "KeyID.MarshalText", "State.String", "State.MarshalText", // names
		"Key.String", "Key.GoString", "Key.MarshalText", "Key.MarshalJSON", // "key:" and a name
		"Ring.String", "Ring.GoString", "Ring.MarshalText", // likewise
		"file.String", "mountedFile.String", "env.String", // places
		"Purpose.Sign", "Purpose.Seal", "Purpose.SealFor", "Purpose.Open", "Purpose.OpenFor", // what is made with keys
	}
	giving := []string{"Key.Text", "Text", "file.Read", "mountedFile.Read", "env.Read"}
	d := declarations(t)
	for _, f := range d.funcs["keyring"] {
		name := f.Name.Name
		if f.Recv != nil {
			recv := f.Recv.List[0].Type
			if star, ok := recv.(*ast.StarExpr); ok {
				recv = star.X
			}
			name = recv.(*ast.Ident).Name + "." + name
		}
		if !f.Name.IsExported() || f.Type.Results == nil || slices.Contains(harmless, name) {
			continue
		}
		gives := slices.ContainsFunc(f.Type.Results.List, func(r *ast.Field) bool { return isText(r.Type) || d.shown("keyring", r.Type, 0) })
		if i := slices.Index(giving, name); gives && i < 0 {
			t.Errorf("keyring.%s returns text or bytes: a key? Tell it here", name)
		} else if i >= 0 {
			giving = slices.Delete(giving, i, i+1)
		}
	}
	if len(giving) > 0 {
		t.Errorf("there is no %q any more", giving)
	}

	callers := map[string]string{
		"keyring/file.go":           "writes key files",
		"keyring/rotate.go":         "writes to where keys are kept",
		"cmd/cloakroom/key.go":      "prints a new key on standard output",
		"cmd/cloakroom/keyprint.go": "prints keys on standard output, for who keeps them elsewhere",
	}
	product(t, func(name string, file *ast.File) {
		uses := strings.HasPrefix(name, "keyring/") || slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return strings.HasSuffix(i.Path.Value, `/keyring"`) })
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !uses {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Text" {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "rand" || x.Name == "event") {
				return true // packages with a function of the name
			}
			if callers[name] == "" {
				t.Errorf("%s asks for the text of a key", name)
			}
			return true
		})
	})
}

// isText tells whether a type is text or bytes.
func isText(e ast.Expr) bool {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name == "string"
	}
	array, ok := e.(*ast.ArrayType)
	if !ok {
		return false
	}
	elem, ok := array.Elt.(*ast.Ident)
	return ok && elem.Name == "byte"
}

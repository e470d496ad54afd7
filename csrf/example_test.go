package csrf_test

import (
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/csrf"
	"github.com/cloakroom-dev/cloakroom/keyring"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

func newManager() *cloakroom.Manager {
	keys, err := keyring.New(keyring.Generate()) // a program reads them: keyring.OpenFile
	if err != nil {
		log.Fatal(err)
	}
	manager, err := cloakroom.New(memstore.New(nil), keys, nil)
	if err != nil {
		log.Fatal(err)
	}
	return manager
}

func Example() {
	page := template.Must(template.New("page").Parse(`<form method="post" action="/note">{{.}}<input name="text"></form>`))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if err := page.Execute(w, csrf.Field(r.Context())); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("POST /note", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "noted:", r.PostFormValue("text"))
	})

	manager := newManager()
	protect, err := csrf.New(manager, &csrf.Options{PublicURL: "https://app.example"})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(manager.Handler(protect.Handler(mux)))
	defer server.Close()

	// Another site makes a browser send the form.
	r, _ := http.NewRequest("POST", server.URL+"/note", strings.NewReader("text=hello"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://evil.example")
	res, err := server.Client().Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Print(res.Status, "\n", string(body))
	// Output:
	// 403 Forbidden
	// {"type":"about:blank","title":"Forbidden","status":403,"detail":"Cross-origin request"}
}

func ExampleNew() {
	_, err := csrf.New(newManager(), &csrf.Options{
		PublicURL:      "app.example",
		TrustedOrigins: []string{"http://www.app.example"},
	})
	fmt.Println(err)
	// Output:
	// csrf: PublicURL needs scheme http or https, and a host in ASCII: write it like "https://app.example"
	// csrf: TrustedOrigins: "http://www.app.example" has the scheme http: anybody on the network could write its pages
}

// A script finds the token in the page and sends it in a header.
func ExampleToken() {
	page := template.Must(template.New("page").Parse(`<meta name="csrf-token" content="{{.}}">
<script>
const token = document.querySelector("meta[name=csrf-token]").content
const save = (note) => fetch("/note", {method: "POST", body: JSON.stringify(note),
	headers: {"Content-Type": "application/json", "X-CSRF-Token": token}})
</script>
`))
	handler := func(w http.ResponseWriter, r *http.Request) {
		// Ask for the token before the page begins to leave: it may set a cookie.
		if err := page.Execute(w, csrf.Token(r.Context())); err != nil {
			log.Print(err)
		}
	}
	manager := newManager()
	protect, err := csrf.New(manager, nil)
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	manager.Handler(protect.Handler(http.HandlerFunc(handler))).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	name, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), "=")
	fmt.Println(w.Code, name)
	// Output: 200 __Host-csrf
}

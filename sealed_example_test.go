package cloakroom_test

import (
	"fmt"
	"log"
	"net/http"

	"github.com/cloakroom-dev/cloakroom"
	"github.com/cloakroom-dev/cloakroom/store/memstore"
)

// A shop keeps its visitors' language and cart in their cookies. The store keeps
// only which sessions have ended; in a program it is one that lasts and that all
// instances share, not memory.
func Example_sealed() {
	cart := cloakroom.NewKey[[]string]("cart")
	m, err := cloakroom.NewSealed(exampleKeys(), memstore.New(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/add", func(w http.ResponseWriter, r *http.Request) {
		s := cloakroom.FromContext(r.Context())
		items := cart.Update(s, func(items []string) []string { return append(items, r.FormValue("item")) })
		// Before the first byte: afterwards there is no header for the cookie.
		if err := s.Commit(r.Context()); err != nil {
			cloakroom.WriteError(w, r, err) // ErrTooLarge, when the cart no longer fits
			return
		}
		fmt.Fprint(w, items)
	})
	mux.HandleFunc("/leave", func(w http.ResponseWriter, r *http.Request) {
		if err := cloakroom.FromContext(r.Context()).End(r.Context()); err != nil {
			cloakroom.WriteError(w, r, err)
			return
		}
		fmt.Fprint(w, "bye")
	})
	browse := browser(m.Handler(mux))
	fmt.Println(browse("/add?item=coat"))
	fmt.Println(browse("/add?item=hat"))
	fmt.Println(browse("/leave"))
	fmt.Println(browse("/add?item=scarf"))
	// Output:
	// [coat]
	// [coat hat]
	// bye
	// [scarf]
}

// Package cloakroom keeps sessions for net/http: the browser has a signed random
// token in a cookie, and everything else is sealed in a store on the server.
//
// A program makes a [Manager] from a store and a key ring, wraps its handlers, and
// reads and writes typed values:
//
//	var visits = cloakroom.NewKey[int]("visits")
//
//	keys, err := keyring.OpenFile("keys")
//	…
//	sessions, err := cloakroom.New(memstore.New(nil), keys, nil)
//	…
//	go sessions.Sweep(ctx, 0) // forgets what has expired
//
//	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
//		s := cloakroom.FromContext(r.Context())
//		fmt.Fprintln(w, "visit", visits.Update(s, func(n int) int { return n + 1 }))
//	})
//	http.ListenAndServe(addr, sessions.Handler(mux))
//
// The changes of a request are saved before the first byte of its response leaves.
// If they cannot be, the visitor gets an error and not the handler's page, so a
// handler need not ask. One that wants to know calls [Session.Commit].
//
// Signing users in with a password, and guarding handlers, is package auth's;
// telling forged requests from real ones is package csrf's. Both go inside
// [Manager.Handler]:
//
//	handler := sessions.Handler(protection.Handler(mux))
//
// Where there is to be no store of sessions, [NewSealed] keeps small ones in their
// visitors' cookies, and promises less.
//
// A program with a login of its own calls [Session.Login] after it has checked
// who somebody is, and [Session.End] at logout.
package cloakroom

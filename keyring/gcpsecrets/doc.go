// Package gcpsecrets reads keys from Google Cloud Secret Manager, and rotates them
// there. It calls the REST API, and brings no gRPC into a program.
//
//	src, err := gcpsecrets.Open("projects/my-project/secrets/cloakroom", nil)
//	ring, err := keyring.Load(ctx, src)
//	go ring.Follow(ctx, src, &keyring.FollowOptions{Interval: time.Minute})
//
// # Places
//
// A place is the resource name of a secret, then a parameter, then a field:
//
//	projects/my-project/secrets/cloakroom                          the newest version, key lines as they are
//	projects/my-project/secrets/cloakroom#keys                     the field "keys" of a JSON object
//	projects/my-project/locations/europe-west3/secrets/cloakroom   a regional secret, at the region's own endpoint
//	projects/my-project/secrets/cloakroom/versions/7               one version for good; not to be written to
//	projects/my-project/secrets/cloakroom?endpoint=https://secretmanager.europe-west3.rep.googleapis.com
//
// A place that looks like a key is refused, as it was put there by mistake.
//
// # Setting up
//
//	gcloud services enable secretmanager.googleapis.com
//	cloakroom key new | gcloud secrets create cloakroom --data-file=-
//	gcloud secrets add-iam-policy-binding cloakroom --role=roles/secretmanager.secretAccessor \
//	    --member=serviceAccount:cloakroom@my-project.iam.gserviceaccount.com
//
// That role, on that secret, is all that an instance needs: it holds
// secretmanager.versions.access. Whoever rotates needs
// roles/secretmanager.secretVersionAdder (secretmanager.versions.add) besides.
//
// Credentials are looked for where Google's own libraries look ("Application Default
// Credentials"): the file that GOOGLE_APPLICATION_CREDENTIALS names (a service
// account's key, a login, workload identity federation, impersonation), the file of
// gcloud auth application-default login, the metadata server (GCE_METADATA_HOST, or
// the one of the machine). The scope is cloud-platform. Whose file names other servers
// decides where its tokens go: use none that comes from somebody else. The file has to
// be a regular one that nobody but its owner can read, of mode 0400 or 0600; in memory
// (tmpfs) others may read it, and one of workload identity federation that holds no
// secret may be read anywhere. Others may change it nowhere.
//
// # What is called, and how often
//
// Each Read is one call of versions.access, which Google charges for and may write into
// the audit log: at a look a minute some 43,000 a month for each instance. A token is
// asked for about once an hour. A service that is throttled or fails is tried three
// times; a Read or Write takes no longer than [Options].Timeout in all. Nothing runs,
// and no connection stays open, between two calls.
//
// The alias latest is eventually consistent, as Google documents, while a version is
// there under its number as soon as it is added. So a Source that has once seen or
// added a version does not go back behind it: where latest does, it reads that version
// by its number, which is a second call. It goes back where the service says that the
// version was disabled or destroyed, and latest has been answered with another: to that
// one, and behind it as little.
//
// # Writing
//
// Secret Manager has no compare-and-set for versions. Write looks for the newest
// version by number, compares, and adds one; the number of the new one tells whether
// somebody else was in between. If so, it adds what they wrote once more, so that the
// first of two who write at once is who counts, and returns [keyring.ErrChanged]. For
// the moment in between, a reader may see the text that lost; and of three writers at
// once, or where one dies half-way or gets no answer in time, one may be lost that was
// told it had succeeded. So let one instance rotate, as the service does. Old versions stay, enabled, and are
// charged for: destroy them once the keys in them are gone.
//
// # Safety
//
// The endpoint and the server that gives tokens are https, or on this machine, but for
// metadata servers, which have no TLS; what goes to these or to this machine goes
// through no proxy, and the rest honours HTTPS_PROXY; no redirect is followed; an answer
// is no longer than a mebibyte, and its CRC32C has to be right. Errors tell what is
// wrong and what to do in words of this package's own, and never in those of a server.
//
// The system's authorities are trusted, or those of SSL_CERT_FILE: see "Where keys are
// kept" in docs/operations.md.
//
// # How far this is tested
//
// The tests run against a server of their own on the loopback interface, which speaks
// the documented protocol, verifies the signed assertion of a service account with its
// public key, and checks the token at every call. They have never met Google Cloud
// itself: before you rely on a rotation there, try one with a secret that does not
// matter.
package gcpsecrets

package csrf

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// maxTokens is how many tokens of one place are looked at. A form has one.
const maxTokens = 4

// formTokens returns the values of the field in the body, one more than maxTokens
// at most. A token in the query never counts: it would stand in logs and in
// Referer. The body is still there for the handler afterwards.
func formTokens(r *http.Request, maxForm int) []string {
	media, params := mediaType(r)
	switch media {
	case "application/x-www-form-urlencoded":
		if len(r.PostForm) > 0 { // somebody outside has parsed the form already
			return r.PostForm[fieldName]
		}
		return urlencoded(peek(r, maxForm))
	case "multipart/form-data":
		if r.MultipartForm != nil {
			return r.MultipartForm.Value[fieldName]
		}
		text, _ := peek(r, maxForm)
		return multipartForm(text, params["boundary"])
	}
	return nil
}

// mediaType returns the Content-Type of the body in lower case, "" for none, for
// several and for one that is malformed.
func mediaType(r *http.Request) (media string, params map[string]string) {
	value, _, ok := header(r, "Content-Type")
	if !ok {
		return "", nil
	}
	media, params, err := mime.ParseMediaType(value)
	if err != nil {
		return "", nil
	}
	return media, params
}

// peek reads the first n bytes of the body and puts them back in front of the
// rest. whole is false where there is more.
func peek(r *http.Request, n int) (text []byte, whole bool) {
	if r.Body == nil {
		return nil, true
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, int64(n)+1))
	rest := io.Reader(r.Body)
	if err != nil {
		rest = failed{err} // a body need not repeat its error
	}
	r.Body = &body{io.MultiReader(bytes.NewReader(text), rest), r.Body}
	if len(text) > n {
		return text[:n], false
	}
	return text, true
}

// body reads what was read before, and the rest, and closes the body.
type body struct {
	io.Reader
	io.Closer
}

// failed is the rest of a body that could not be read.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// urlencoded returns the values of the field in a form. It looks at one pair after
// the other: a map of all pairs would cost many times what the body does.
func urlencoded(text []byte, whole bool) (values []string) {
	form := string(text)
	if !whole {
		form = form[:strings.LastIndexByte(form, '&')+1] // the last pair may be cut
	}
	for pair := range strings.SplitSeq(form, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || name != fieldName {
			continue
		}
		// A value that cannot be unescaped is no token either.
		value, _ = url.QueryUnescape(value)
		if values = append(values, value); len(values) > maxTokens {
			break
		}
	}
	return values
}

// multipartForm returns the values of the field in a form that may hold files. It
// ends where the text is malformed or cut; a value that is cut is no token.
func multipartForm(text []byte, boundary string) (values []string) {
	parts := multipart.NewReader(bytes.NewReader(text), boundary)
	for len(values) <= maxTokens {
		part, err := parts.NextPart()
		if err != nil {
			break
		}
		if part.FormName() != fieldName || part.FileName() != "" {
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, int64(tokenSize)+1))
		if err != nil {
			value = nil
		}
		values = append(values, string(value))
	}
	return values
}

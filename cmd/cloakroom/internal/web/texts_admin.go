package web

// adminTexts is everything that the pages of the administration say.
var adminTexts = map[string]string{
	"admin": "Administration",
}

package password_test

import (
	"errors"
	"testing"

	"github.com/cloakroom-dev/cloakroom/password"
)

// What is on the list is not taken with blanks around it, nor in full-width letters.
func TestNIST_3_1_1_2_blk1_OtherFormsOfTheSame(t *testing.T) {
	for _, pw := range []string{
		" qwertyuiopasdfghjkl ", "ｑｗｅｒｔｙｕｉｏｐａｓｄｆｇｈｊｋｌ",
	} {
		var e *password.PolicyError
		if err := new(password.Policy).Check(pw); !errors.As(err, &e) || e.Reason != password.Blocklisted {
			t.Errorf("%q: %v", pw, err)
		}
	}
	for _, pw := range []string{"correct horse battery staple", "no no no never ever", "日本語の長いパスワードです、はい", "😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰"} {
		if err := new(password.Policy).Check(pw); err != nil {
			t.Errorf("%q: %v", pw, err)
		}
	}
}

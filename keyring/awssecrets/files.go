package awssecrets

import (
	"cmp"
	"os"

	"github.com/aws/aws-sdk-go-v2/config"
)

// maxFile bounds, in bytes, a file that the SDK reads.
const maxFile = 1 << 20

// checkFiles refuses files that reading has no end of: the SDK reads them without a
// bound, and whatever the context says. The error names the variable, and not the file.
func (s *Source) checkFiles() error {
	for _, f := range []struct{ variable, otherwise string }{
		{"AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()},
		{"AWS_SHARED_CREDENTIALS_FILE", config.DefaultSharedCredentialsFilename()},
		{"AWS_CA_BUNDLE", ""}, {"AWS_WEB_IDENTITY_TOKEN_FILE", ""}, {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""},
	} {
		// What is not there is for the SDK to say, which does without some of them.
		info, err := os.Stat(cmp.Or(os.Getenv(f.variable), f.otherwise))
		if err == nil && (!info.Mode().IsRegular() || info.Size() > maxFile) {
			return s.errorf("the file of %s is not a regular one, or has more than a mebibyte; name the file itself", f.variable)
		}
	}
	return nil
}

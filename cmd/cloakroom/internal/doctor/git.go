package doctor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/config"
	"github.com/cloakroom-dev/cloakroom/cmd/cloakroom/internal/finding"
)

var gitChecks = []string{"git-tracked", "git-ignored"}

// git asks the git program about secret files in work trees. Where there is none, a
// work tree can be seen, and what is in its index cannot.
func (e *examination) git(ctx context.Context, l *notes) {
	for _, s := range e.secrets() {
		if s.unseen != "" {
			l.skip(s.unseen, gitChecks...)
			continue
		}
		path := config.Behind(s.path)
		if workTree(filepath.Dir(path)) == "" {
			continue
		}
		program, err := exec.LookPath("git")
		if err != nil {
			l.skip("there is no git program, and "+s.path+" is in a work tree", gitChecks...)
			return
		}
		tracked, err := gitSays(ctx, program, path, "ls-files", "--error-unmatch", "--")
		if err != nil {
			l.skip("git does not say whether it tracks "+s.path, gitChecks...)
			continue
		}
		if tracked {
			l.find("git-tracked", finding.Error, gitRemedy(s),
				"%s %s is tracked by git", s.what, s.path)
			continue
		}
		ignored, err := gitSays(ctx, program, path, "check-ignore", "--quiet", "--")
		if err != nil {
			l.skip("git does not say whether it ignores "+s.path, "git-ignored")
		} else if !ignored {
			l.find("git-ignored", finding.Warning, "echo "+quote("/"+filepath.Base(path))+" >> "+quote(filepath.Join(filepath.Dir(path), ".gitignore")),
				"%s %s is in a git work tree and not ignored", s.what, s.path)
		}
	}
}

// gitRemedy says what to do about a secret that is out.
func gitRemedy(s secret) string {
	do := "git rm --cached " + quote(s.path) + ", add it to .gitignore"
	switch s.kind {
	case keyFile:
		return do + ", and take the keys out of use: cloakroom key retire --now ID"
	case credential:
		return do + ", and replace what it opens"
	case tlsKey:
		return do + ", and get a new certificate with a new key"
	case configFile, placeFile:
		return do + ", and change the password in it"
	}
	return do + "; whoever has the repository has the users' hashes"
}

// gitSays asks git a question that it answers with its exit code, 0 or 1. Nothing in
// the work tree is run, and the index is not refreshed.
func gitSays(ctx context.Context, program, path string, args ...string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"-c", "core.fsmonitor=false", "-c", "safe.directory=*"}, append(args, filepath.Base(path))...)...)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0")
	cmd.Env = without(cmd.Env, "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return false, nil
	}
	return err == nil, err
}

// workTree returns the work tree that a directory is in, or "".
func workTree(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, ".git")) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

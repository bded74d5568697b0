package redact_test

import (
	"strings"
	"testing"

	"github.com/gantry-ci/gantry/internal/redact"
)

func TestNamesThatLookSecret(t *testing.T) {
	for _, name := range []string{
		"GITHUB_TOKEN", "ACTIONS_RUNTIME_TOKEN", "AWS_SECRET_ACCESS_KEY", "password", "INPUT_SSH-KEY", "MYSQL_PWD",
		"INPUT_REGISTRY-PASSWORD", "NPM_AUTH", "GH_PAT", "DB_CONNECTION_STRING", "SLACK_WEBHOOK_URL", "DOCKER_AUTH_CONFIG",
	} {
		if !redact.Name(name) {
			t.Errorf("%s is taken for harmless", name)
		}
	}
	for _, name := range []string{
		"PATH", "GITHUB_PATH", "PWD", "OLDPWD", "HOME", "GITHUB_REPOSITORY", "GIT_AUTHOR_NAME", "RUNNER_TEMP",
		"GITHUB_OUTPUT", "image", "entryPointArgs", "targetVolumePath", "GITHUB_WORKSPACE", "LANG",
	} {
		if redact.Name(name) {
			t.Errorf("%s is taken for a secret", name)
		}
	}
}

// Whatever way a secret takes into a call, its text is not in what is written down.
func TestASecretIsNowhereInTheResult(t *testing.T) {
	const secret = "s3cr3t/v4lue+"
	for name, text := range map[string]string{
		"a variable":               `{"environmentVariables":{"DEPLOY_TOKEN":"s3cr3t/v4lue+"}}`,
		"a password":               `{"registry":{"username":"u","password":"s3cr3t/v4lue+"}}`,
		"an argument":              `{"args":["--with","s3cr3t/v4lue+"],"environmentVariables":{"X_KEY":"s3cr3t/v4lue+"}}`,
		"within a longer text":     `{"a":"x s3cr3t/v4lue+ y","environmentVariables":{"X_KEY":"s3cr3t/v4lue+"}}`,
		"a line of several":        `{"a":"s3cr3t/v4lue+","environmentVariables":{"X_KEY":"BEGIN\n  s3cr3t/v4lue+\nEND"}}`,
		"create options":           `{"createOptions":"-e API_TOKEN=s3cr3t/v4lue+ --cpus 1"}`,
		"quoted in create options": `{"createOptions":"-e 'API_TOKEN=s3cr3t/v4lue+' --env=\"B_KEY=s3cr3t/v4lue+\""}`,
		"a URL":                    `{"environmentVariables":{"HTTP_PROXY":"http://me:s3cr3t%2Fv4lue+@proxy:1"},"X_KEY":"s3cr3t%2Fv4lue+"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var r redact.Redactor
			if err := r.LearnJSON([]byte(text)); err != nil {
				t.Fatal(err)
			}
			got, err := r.JSON([]byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(got), secret) || strings.Contains(string(got), "v4lue") {
				t.Errorf("%s", got)
			}
		})
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	const text = `{"command":"run_script_step","n":12345678901234567890,"args":{"entryPoint":"bash","entryPointArgs":["-e","/__w/_temp/1.sh"],"environmentVariables":{"CI":"true","X_KEY":"true"}},"state":null}`
	var r redact.Redactor
	if err := r.LearnJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got, err := r.JSON([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"n":12345678901234567890`, `"/__w/_temp/1.sh"`, `"CI":"true"`, `"X_KEY":"***"`, `"state":null`} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

package hook_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantry-ci/gantry/hook"
)

// input makes an input out of the text of its args.
func input(command hook.Command, args string) string {
	return `{"command":"` + string(command) + `","responseFile":"/r.json","args":` + args + `,"state":null}`
}

// decode reads an input and its args; one of the results is nil.
func decode(text string) (any, error) {
	in, err := hook.ReadInput(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return decodeArgs(in)
}

func TestMistakesInTheInputAreNamed(t *testing.T) {
	tests := []struct {
		name, text string
		field      string   // of the error
		mentions   []string // in its text or hint
	}{
		{"empty", "", "", []string{"empty"}},
		{"white space only", " \n\t", "", []string{"empty"}},
		{"byte order mark only", "\ufeff", "", []string{"empty"}},
		{"cut off", `{"command":"prep`, "", []string{"incomplete", "16 bytes"}},
		{"cut off between members", `{"command":"prepare_job",`, "", []string{"incomplete"}},
		{"not JSON", "hello", "", []string{"not JSON", "byte 1"}},
		{"wrong in the middle", "\ufeff" + `{"command" "x"}`, "", []string{"not JSON", "byte 15"}},
		{"text after the object", `{"command":"cleanup_job"} x`, "", []string{"after", "byte 25"}},
		{"two objects", `{"command":"cleanup_job"}{}`, "", []string{"after"}},
		{"array", `[{"command":"cleanup_job"}]`, "", []string{"object", "an array"}},
		{"string", `"cleanup_job"`, "", []string{"object", "a string"}},
		{"null", `null`, "", []string{"object", "null"}},
		{"number", `1.5`, "", []string{"object", "a number"}},
		{"no command", `{}`, "command", []string{"missing"}},
		{"command is null", `{"command":null}`, "command", []string{"missing"}},
		{"command is a number", `{"command":1}`, "command", []string{"a number"}},
		{"unknown command", `{"command":"explode","args":{}}`, "command",
			[]string{"explode", "prepare_job", "cleanup_job", "run_script_step", "run_container_step"}},
		{"responseFile", `{"command":"cleanup_job","responseFile":{}}`, "responseFile", []string{"an object"}},
		{"state", `{"command":"cleanup_job","state":"x"}`, "state", []string{"a string"}},
		{"no args", `{"command":"run_script_step"}`, "args", []string{"run_script_step"}},
		{"args are null", input("prepare_job", "null"), "args", nil},
		{"args are an array", input("prepare_job", "[]"), "args", []string{"an array"}},
		{"no entry point", input("run_script_step", "{}"), "args.entryPoint", nil},
		{"entry point", input("run_script_step", `{"entryPoint":["sh"]}`), "args.entryPoint", []string{"an array"}},
		{"one argument", input("run_script_step", `{"entryPoint":"sh","entryPointArgs":["-c",null]}`), "args.entryPointArgs[1]", []string{"null"}},
		{"arguments", input("run_script_step", `{"entryPoint":"sh","entryPointArgs":"-c"}`), "args.entryPointArgs", []string{"a string"}},
		{"variable", input("run_script_step", `{"entryPoint":"sh","environmentVariables":{"A":1,"B":["x"]}}`), "args.environmentVariables.B", []string{"an array"}},
		{"variables", input("run_script_step", `{"entryPoint":"sh","environmentVariables":[]}`), "args.environmentVariables", []string{"an array"}},
		{"prependPath", input("run_script_step", `{"entryPoint":"sh","prependPath":{}}`), "args.prependPath", []string{"an object"}},
		{"container", input("prepare_job", `{"container":"node:22"}`), "args.container", []string{"a string"}},
		{"job container without image", input("prepare_job", `{"container":{"image":""}}`), "args.container.image", nil},
		{"documented name without image", input("prepare_job", `{"jobContainer":{}}`), "args.jobContainer.image", nil},
		{"services as an object", input("prepare_job", `{"services":{"redis":{"image":"redis"}}}`), "args.services", []string{"an object"}},
		{"service is null", input("prepare_job", `{"services":[null]}`), "args.services[0]", []string{"null"}},
		{"service without image", input("prepare_job", `{"services":[{"image":"a"},{}]}`), "args.services[1].image", nil},
		{"service's image", input("prepare_job", `{"services":[{"image":"a"},{"image":7}]}`), "args.services[1].image", []string{"a number"}},
		{"ports", input("prepare_job", `{"services":[{"image":"a","portMappings":["80",{}]}]}`), "args.services[0].portMappings[1]", nil},
		{"ports of an object", input("prepare_job", `{"services":[{"image":"a","portMappings":{"80":[]}}]}`), "args.services[0].portMappings.80", nil},
		{"mount", input("run_container_step", `{"image":"a","userMountVolumes":["/x"]}`), "args.userMountVolumes[0]", nil},
		{"mount's flag", input("run_container_step", `{"image":"a","userMountVolumes":[{"targetVolumePath":"/x","readOnly":"true"}]}`), "args.userMountVolumes[0].readOnly", nil},
		{"mount without target", input("run_container_step", `{"image":"a","systemMountVolumes":[{"sourceVolumePath":"/x"}]}`), "args.systemMountVolumes[0].targetVolumePath", nil},
		{"registry", input("run_container_step", `{"image":"a","registry":[]}`), "args.registry", nil},
		{"password", input("run_container_step", `{"image":"a","registry":{"password":123456}}`), "args.registry.password", nil},
		{"neither image nor dockerfile", input("run_container_step", `{"image":null,"dockerfile":null}`), "args.image", []string{"dockerfile"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := decode(test.text)
			var problem *hook.InputError
			if !errors.As(err, &problem) {
				t.Fatalf("got error %v, want an InputError", err)
			}
			if problem.Field != test.field {
				t.Errorf("error %q is about field %q, want %q", err, problem.Field, test.field)
			}
			text := problem.Problem + "\n" + problem.Hint
			for _, part := range append(test.mentions, test.field) {
				if !strings.Contains(text, part) {
					t.Errorf("error %q does not mention %q", text, part)
				}
			}
			if strings.Contains(text, "123456") {
				t.Errorf("error %q tells a secret", text)
			}
		})
	}
}

func TestOtherFormsThanTheRunnersAreRead(t *testing.T) {
	tests := []struct{ name, text, same string }{
		{"jobContainer", input("prepare_job", `{"jobContainer":{"image":"a"}}`), input("prepare_job", `{"container":{"image":"a"},"services":[]}`)},
		{"container before jobContainer", input("prepare_job", `{"container":{"image":"a"},"jobContainer":{"image":"b"}}`), input("prepare_job", `{"container":{"image":"a"}}`)},
		{"services null", input("prepare_job", `{"container":{"image":"a"},"services":null}`), input("prepare_job", `{"container":{"image":"a"},"services":[]}`)},
		{"mountVolumes", input("run_container_step", `{"image":"a","mountVolumes":[{"targetVolumePath":"/x"}]}`), input("run_container_step", `{"image":"a","systemMountVolumes":[{"targetVolumePath":"/x"}]}`)},
		{"mountVolumes beside null", input("run_container_step", `{"image":"a","mountVolumes":[{"targetVolumePath":"/x"}],"systemMountVolumes":null}`), input("run_container_step", `{"image":"a","systemMountVolumes":[{"targetVolumePath":"/x"}]}`)},
		{"entrypoint", input("run_container_step", `{"image":"a","entrypoint":"sh"}`), input("run_container_step", `{"image":"a","entryPoint":"sh"}`)},
		{"nulls", input("run_container_step", `{"image":"a","dockerfile":null,"entryPointArgs":null,"entryPoint":null,"workingDirectory":null,"createOptions":null,"registry":null,"environmentVariables":null,"portMappings":null,"systemMountVolumes":null,"userMountVolumes":null,"contextName":null}`), input("run_container_step", `{"image":"a"}`)},
		{"variables", input("run_script_step", `{"entryPoint":"sh","environmentVariables":{"A":1.50,"B":true,"C":null,"D":false,"E":"x"}}`), input("run_script_step", `{"entryPoint":"sh","environmentVariables":{"A":"1.50","B":"true","C":"","D":"false","E":"x"}}`)},
		{"only null variables", input("run_script_step", `{"entryPoint":"sh","environmentVariables":{"C":null}}`), input("run_script_step", `{"entryPoint":"sh","environmentVariables":{"C":""}}`)},
		{"one path", input("run_script_step", `{"entryPoint":"sh","prependPath":"/b:/a:"}`), input("run_script_step", `{"entryPoint":"sh","prependPath":["/b","/a"]}`)},
		{"empty path", input("run_script_step", `{"entryPoint":"sh","prependPath":""}`), input("run_script_step", `{"entryPoint":"sh","prependPath":[]}`)},
		{"no path", input("run_script_step", `{"entryPoint":"sh","prependPath":null}`), input("run_script_step", `{"entryPoint":"sh"}`)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := decode(test.text)
			if err != nil {
				t.Fatal(err)
			}
			want, err := decode(test.same)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPortsOfAnObjectComeInStableOrder(t *testing.T) {
	got, err := hook.DecodeContainerStep(json.RawMessage(`{"image":"a","portMappings":{"80":"801","443":4430,"22":"2022"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"22:2022", "443:4430", "80:801"}, got.PortMappings); diff != "" || !got.PortsFromObject {
		t.Errorf("from an object: %v; ports (-want +got):\n%s", got.PortsFromObject, diff)
	}
}

func TestTheDesignRecordsNameOfCleanupIsKnown(t *testing.T) {
	for _, text := range []string{`{"command":"job_cleanup"}`, `{"command":"cleanup_job","args":null,"state":null}`} {
		in, err := hook.ReadInput(strings.NewReader(text))
		if err != nil || in.Command != hook.CleanupJob || in.State != nil {
			t.Errorf("%s: got %+v, error %v", text, in, err)
		}
	}
}

func TestLargeInputsAreRead(t *testing.T) {
	t.Parallel()
	value := strings.Repeat("x", 50<<20)
	got, err := decode(input("run_script_step", `{"entryPoint":"sh","environmentVariables":{"BIG":"`+value+`"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if big := got.(*hook.ScriptStepArgs).EnvironmentVariables["BIG"]; big != value {
		t.Errorf("a value of %d bytes arrived with %d", len(value), len(big))
	}
}

// Whatever is sent: no panic, and an InputError or a command that can be served.
func FuzzReadInput(f *testing.F) {
	for _, name := range payloads(f) {
		f.Add(string(readTestdata(f, name)))
	}
	f.Add(`{"command":"prepare_job","args":{"services":[{"image":1}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		args, err := decode(text)
		var problem *hook.InputError
		switch {
		case err == nil && !json.Valid([]byte(strings.TrimPrefix(text, "\ufeff"))):
			t.Errorf("%q was read as %+v", text, args)
		case err != nil && !errors.As(err, &problem):
			t.Errorf("%q: error %#v, want an InputError", text, err)
		}
	})
}

func BenchmarkReadScriptStep(b *testing.B) {
	text := string(readTestdata(b, "runner-2.336.0/run_script_step.json"))
	for b.Loop() {
		if _, err := decode(text); err != nil {
			b.Fatal(err)
		}
	}
}

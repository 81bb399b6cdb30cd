// Command dashcheck decodes Grafana dashboards strictly, by the types of Grafana's own foundation SDK: unknown fields,
// wrong types, unknown panel types and options that a panel does not have are errors. It needs no Grafana.
//
//	dashcheck FILE...
//
// It exits 1 if a file has a problem, and says which.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: dashcheck FILE...")
		os.Exit(2)
	}
	plugins.RegisterDefaultPlugins()
	failed := false
	for _, file := range os.Args[1:] {
		if err := check(file); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", file, err)
			failed = true
			continue
		}
		fmt.Printf("%s: ok\n", file)
	}
	if failed {
		os.Exit(1)
	}
}

func check(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var strict dashboard.Dashboard
	if err := nonEmpty(strict.UnmarshalJSONStrict(raw)); err != nil {
		return err
	}
	// The strict decoder may leave panels out of its result; the lenient one fills them in for the checks below.
	var decoded dashboard.Dashboard
	if err := json.Unmarshal(raw, &decoded); err != nil {
		return err
	}
	if err := nonEmpty(decoded.Validate()); err != nil {
		return err
	}
	return checkPanels(decoded)
}

// checkPanels finds panels of a type that Grafana does not have: the decoder takes those as they are.
func checkPanels(decoded dashboard.Dashboard) error {
	var problems []error
	unknown := func(panel dashboard.Panel) {
		if _, ok := cog.ConfigForPanelcfgVariant(panel.Type); !ok {
			problems = append(problems, fmt.Errorf("panel %q: unknown type %q", title(panel), panel.Type))
		}
	}
	for _, entry := range decoded.Panels {
		if entry.Panel != nil {
			unknown(*entry.Panel)
		}
		if entry.RowPanel != nil {
			for _, panel := range entry.RowPanel.Panels {
				unknown(panel)
			}
		}
	}
	return errors.Join(problems...)
}

func title(panel dashboard.Panel) string {
	if panel.Title == nil {
		return ""
	}
	return *panel.Title
}

// nonEmpty turns the SDK's list of errors without an entry, which is not nil, into nil.
func nonEmpty(err error) error {
	if err != nil && err.Error() == "" {
		return nil
	}
	return err
}

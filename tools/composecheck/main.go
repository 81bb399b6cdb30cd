// Command composecheck loads Compose files, later ones over earlier ones, as Docker Compose does, with the Compose project's own library: what the
// Compose specification does not allow is an error. It needs no Docker. Environment variables are not looked at, so that
// defaults show.
//
//	composecheck FILE...
//
// It prints the loaded project as JSON, with absolute paths, or exits 1 and says what is wrong.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: composecheck FILE...")
		os.Exit(2)
	}
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", strings.Join(os.Args[1:], ", "), err)
		os.Exit(1)
	}
}

// check loads the files; relative paths in them begin where the first one is.
func check(files []string) error {
	directory, err := filepath.Abs(filepath.Dir(files[0]))
	if err != nil {
		return err
	}
	options, err := cli.NewProjectOptions(files, cli.WithWorkingDirectory(directory))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(project, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

package ociclient

import (
	"context"
	"errors"
	"os/exec"

	"github.com/gantry-ci/gantry/internal/conformance"
)

// Start starts a container that belongs to no runner.
func (c *Client) Start(ctx context.Context, name, image string) error {
	_, err := c.run(ctx, "run", "--detach", "--name", name, image, "sleep", "100000")
	return err
}

// Enter is exec.
func (c *Client) Enter(ctx context.Context, container string, program ...string) (int, error) {
	_, err := c.run(ctx, append([]string{"exec", container}, program...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && ended(ctx, err) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// Kill is kill.
func (c *Client) Kill(ctx context.Context, containers ...string) error {
	_, err := c.run(ctx, append([]string{"kill"}, containers...)...)
	return err
}

// Remove removes containers with their anonymous volumes, then networks, then volumes.
func (c *Client) Remove(ctx context.Context, what conformance.Inventory) error {
	return errors.Join(
		c.remove(ctx, "container", what.Containers, "rm", "--force", "--volumes"),
		c.remove(ctx, "network", what.Networks, "network", "rm"),
		c.remove(ctx, "volume", what.Volumes, "volume", "rm", "--force"),
	)
}

// remove removes objects of a kind. It fails if one of them is still there.
func (c *Client) remove(ctx context.Context, kind string, names []string, args ...string) error {
	if len(names) == 0 {
		return nil
	}
	_, failed := c.run(ctx, append(args, names...)...)
	if failed == nil {
		return nil
	}
	for _, name := range names {
		if there, err := c.Exists(ctx, kind, name); there || err != nil {
			return errors.Join(failed, err)
		}
	}
	return nil
}

// Empty removes a folder's files as root of a container.
func (c *Client) Empty(ctx context.Context, folder, image string) error {
	_, err := c.run(ctx, "run", "--rm", "--user", "0:0", "--volume", folder+":/gone", image,
		"sh", "-c", "chmod -R 777 /gone; rm -rf /gone/* /gone/.[!.]*")
	return err
}

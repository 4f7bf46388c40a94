using System.CommandLine;
using Kvm.Api.Rest;
using Kvm.Cli.Parsing;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Manager;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Host;

namespace Kvm.Cli.Verbs.Machines;

/// <summary><c>kvmsharp serve</c>: the manager's API.</summary>
internal sealed class ServeVerb : Verb
{
    private readonly ValueOption _socket = new("--socket", "PATH", "Where", "The API's socket; manager.sock in the runtime folder where this is not given. Under systemd the socket that it gives.") { Kind = ValueKind.File };

    private readonly ValueOption _web = WebOption.Create("Where", "Also a page of all machines, at a port of 127.0.0.1, a free one where none is named; prints its address.");

    public ServeVerb()
        : base("serve", "Serves the manager's REST API on a Unix socket, and looks after machines: starts again what is to be, starts what is to start with the host.")
    {
        Add(_socket);
        Add(_web);
        Examples =
        [
            ("kvmsharp serve", "until Ctrl-C; machines go on without it"),
            ("kvmsharp serve --web", "with a page for a browser of this machine"),
            ("curl --unix-socket $XDG_RUNTIME_DIR/kvmsharp/manager.sock http://localhost/vms", "what it is asked"),
        ];
        Notes = ["The API is described in docs/api.md and by GET /openapi.json. Units for systemd: docs/examples/systemd."];
    }

    public override int Execute(ParseResult result, GlobalOptions global) => Cancellable.Run(cancel =>
    {
        int? given;
        try
        {
            given = SystemdService.TakeSocket();
        }
        catch (IOException e)
        {
            throw new VmmException(ApiErrors.NoSocket, e.Message, e);
        }

        var settings = new ManagerServerSettings(ProductVersion.Number, ProductVersion.Runtime)
        {
            SocketPath = _socket.Text(result),
            Descriptor = given,
            WebPort = _web.PortOf(result),
            Notice = message => StandardStreams.Error($"kvmsharp: {VisibleText.Escape(message)}\n"),
        };
        using (var server = Open(settings))
        {
            StandardStreams.Output(global.Json ? JsonText.Line(json =>
            {
                json.WriteStartObject();
                json.WriteString("socket", server.Address);
                json.WriteString("web", server.WebAddress);
                json.WriteNumber("processId", Environment.ProcessId);
                json.WriteEndObject();
            }) : $"kvmsharp serves at {VisibleText.Escape(server.Address)}; Ctrl-C ends it, machines go on\n{(server.WebAddress is { } page ? $"the page of all machines: {page}\n" : "")}");
            SystemdService.Notify("READY=1");
            cancel.WaitHandle.WaitOne();
            SystemdService.Notify("STOPPING=1");
        }

        return ExitCode.Success;
    });

    private static ManagerServer Open(ManagerServerSettings settings)
    {
        try
        {
            return ManagerServer.Open(ManagerOptions.OfThisUser(), settings);
        }
        catch (Exception e) when (settings.WebPort is not null && e is IOException or UnauthorizedAccessException or System.Net.Sockets.SocketException)
        {
            throw new VmmException(UsageErrors.CannotServe, $"port {settings.WebPort} of 127.0.0.1: {e.Message}", e);
        }
    }
}

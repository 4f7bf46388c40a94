using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using Kvm.Cli.Running;
using Kvm.Cli.Text;
using Kvm.Labs.Catalog;
using Kvm.Vmm;
using Kvm.Web;

namespace Kvm.Cli.Web;

/// <summary>
/// The page of <c>lab step --web</c> and <c>lab run --web</c>: source, registers, exits and memory beside each other, stepped through and back.
/// What the page asks for is done on the thread that serves, to which the lab's machine belongs.
/// </summary>
internal sealed class LabPage : IDisposable
{
    private const int MostAsked = 16;
    private const int MostBytes = 256;

    private readonly LabStepper _stepper;
    private readonly EventFeed _feed = new();
    private readonly BlockingCollection<Asked> _asked = new(MostAsked);
    private readonly LivePage _page;

    /// <param name="stepper">The lab's program; the caller's, used by the thread that calls <see cref="Serve"/>.</param>
    /// <param name="lab">The lab.</param>
    /// <param name="port">The port, 0 for a free one.</param>
    /// <exception cref="VmmException">The port is taken or not allowed.</exception>
    public LabPage(LabStepper stepper, Lab lab, int port)
    {
        _stepper = stepper;
        _feed.PublishLast("about", LiveJson.Of(json => WriteAbout(json, lab)));
        Show();
        _page = new LivePage("lab", port, _feed, Ask);
    }

    /// <summary>Shows the lab until a signal comes or the page asks for the end.</summary>
    /// <param name="run">Runs the program to its end first.</param>
    /// <returns>The exit code.</returns>
    public int Serve(bool run)
    {
        using var stop = _page.Ending.Register(_asked.CompleteAdding);
        int signal = 0;
        using var signals = new SignalGuard(
            number =>
            {
                Interlocked.CompareExchange(ref signal, number, 0);
                _page.End();
            },
            () => { });
        _page.Announce("the lab");
        if (run)
        {
            _stepper.RunToEnd(_page.Ending);
            Show();
        }

        foreach (var asked in _asked.GetConsumingEnumerable())
            asked.Answer.TrySetResult(Do(asked));
        return Volatile.Read(ref signal) is > 0 and var ended ? 128 + ended : ExitCode.Success;
    }

    public void Dispose()
    {
        _feed.End();
        _page.Dispose();
        _asked.Dispose();
    }

    private Task<PageAnswer> Ask(string command, JsonElement arguments, CancellationToken cancel)
    {
        var asked = new Asked(command, arguments.Clone(), new TaskCompletionSource<PageAnswer>(TaskCreationOptions.RunContinuationsAsynchronously));
        try
        {
            if (!_asked.TryAdd(asked))
                return Task.FromResult(LiveJson.Refused("too much is asked at a time"));
        }
        catch (InvalidOperationException)
        {
            return Task.FromResult(LiveJson.Refused("the page ends"));
        }

        return asked.Answer.Task.WaitAsync(cancel);
    }

    private PageAnswer Do(Asked asked)
    {
        switch (asked.Command)
        {
            case "step":
                _stepper.Step();
                break;
            case "continue":
                _stepper.Continue(_page.Ending);
                break;
            case "back" when !_stepper.CanGoBack:
                return LiveJson.Refused("steps can be undone on the software engine only: --engine soft");
            case "back":
                _stepper.Back();
                break;
            case "end":
                _stepper.RunToEnd(_page.Ending);
                break;
            case "restart":
                _stepper.Restart();
                break;
            case "walk" or "memory":
                return LiveJson.Address(asked.Arguments, "address") is { } address ? Look(asked.Command, address) : LiveJson.Refused("that is no address: up to 16 hexadecimal digits");
            default:
                return LiveJson.Refused("there is no such command");
        }

        Show();
        return LiveJson.Done(null);
    }

    private PageAnswer Look(string command, ulong address) => new(LiveJson.Of(json =>
    {
        if (command == "walk")
            _stepper.WriteWalk(json, address);
        else
            WriteMemory(json, new SeenMemory("", address, _stepper.ReadMemory(address, MostBytes)));
    }));

    private void Show() => _feed.PublishLast("view", LiveJson.Of(json => WriteView(json, _stepper.View())));

    private void WriteAbout(Utf8JsonWriter json, Lab lab)
    {
        json.WriteStartObject();
        json.WriteNumber("number", lab.Number);
        json.WriteString("name", lab.Name);
        json.WriteString("title", lab.Title);
        json.WriteString("text", lab.Text);
        json.WriteBoolean("canGoBack", _stepper.CanGoBack);
        json.WriteStartArray("source");
        foreach (string line in _stepper.Source)
            json.WriteStringValue(line.TrimEnd());
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteView(Utf8JsonWriter json, StepView view)
    {
        json.WriteStartObject();
        json.WriteString("engine", view.Engine);
        json.WriteNumber("steps", view.Steps);
        json.WriteNumber("vcpu", view.Vcpu);
        json.WriteNumber("vcpus", view.Vcpus);
        json.WriteString("address", Hex(view.Address));
        json.WriteString("instruction", view.Instruction);
        json.WriteNumber("line", view.Source.FirstOrDefault(line => line.Current).Line);
        json.WriteStartArray("registers");
        foreach (var (name, value, changed) in view.Registers)
        {
            json.WriteStartObject();
            json.WriteString("name", name);
            json.WriteString("value", Hex(value));
            json.WriteBoolean("changed", changed);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("memory");
        foreach (var part in view.Memory)
            WriteMemory(json, part);
        json.WriteEndArray();
        json.WriteNumber("exits", view.Exits);
        json.WriteStartArray("recent");
        foreach (var exit in view.Recent)
            LabText.Write(json, exit);
        json.WriteEndArray();
        json.WriteBoolean("came", view.LastExit is not null);
        json.WriteString("console", view.Console);
        json.WriteString("end", view.End);
        json.WriteEndObject();
    }

    private static void WriteMemory(Utf8JsonWriter json, SeenMemory part)
    {
        json.WriteStartObject();
        json.WriteString("name", part.Name);
        json.WriteString("address", Hex(part.Address));
        json.WriteString("bytes", Convert.ToHexStringLower(part.Bytes));
        json.WriteEndObject();
    }

    private static string Hex(ulong value) => string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");

    private readonly record struct Asked(string Command, JsonElement Arguments, TaskCompletionSource<PageAnswer> Answer);
}

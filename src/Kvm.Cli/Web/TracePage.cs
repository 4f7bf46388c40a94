using System.Buffers;
using System.Text.Json;
using Kvm.Vmm;
using Kvm.Vmm.Configuration;
using Kvm.Vmm.Tracing;
using Kvm.Vmm.Viewing;
using Kvm.Web;

namespace Kvm.Cli.Web;

/// <summary>
/// The page of <c>trace --web</c>: console, exits, schedule and counts as they come; stops, steps, registers and walks as somebody asks. The
/// guest never waits for it, but for its first reader.
/// </summary>
internal sealed class TracePage : IDisposable
{
    /// <summary>How much of a recorded trace is shown, in bytes of JSON; some twenty thousand exits.</summary>
    public const long MostReplayed = 14 << 20;

    private const int PeriodMs = 50;
    private const int PeriodsOfCounts = 20;

    private readonly EventFeed _feed = new(16 << 20);
    private readonly LivePage _page;
    private readonly Lock _lock = new();
    private readonly ManualResetEventSlim _finished = new();
    private readonly ArrayBufferWriter<byte> _bytes = new();
    private readonly Thread _pump;
    private readonly ConsoleTap _console = new();
    private ExitTrace? _trace;
    private MachineView? _view;

    /// <param name="port">The port, 0 for a free one.</param>
    /// <exception cref="VmmException">The port is taken or not allowed.</exception>
    public TracePage(int port)
    {
        Exits = new ExitStream(_feed);
        State("waiting", "waits for this page");
        _page = new LivePage("trace", port, _feed, Command);
        _pump = new Thread(Pump, maxStackSize: 256 << 10) { Name = "page", IsBackground = true };
        _pump.Start();
    }

    /// <summary>Takes the trace in JSON; disposed by who writes it.</summary>
    public ExitStream Exits { get; }

    /// <summary>Takes the guest's console; any thread, never waits.</summary>
    public ConsoleSink Console => _console.Write;

    /// <summary>Cancelled when the page asks for the end.</summary>
    public CancellationToken Ending => _page.Ending;

    /// <summary>Says where the page is.</summary>
    public void Announce(string what) => _page.Announce(what);

    /// <summary>Shows a machine that has not begun, and waits until a page reads.</summary>
    /// <param name="machine">The machine; the caller's, until <see cref="Detach"/>.</param>
    /// <param name="trace">The trace that <see cref="Exits"/> takes.</param>
    /// <param name="cancel">Ends the wait.</param>
    public void Attach(VirtualMachine machine, ExitTrace trace, CancellationToken cancel)
    {
        var view = new MachineView(machine, trace);
        _feed.PublishLast("about", LiveJson.Of(json =>
        {
            json.WriteStartObject();
            json.WriteString("mode", "live");
            view.WriteAbout(json);
            json.WriteEndObject();
        }));
        _feed.PublishLast("memory", LiveJson.Of(view.WriteMemoryMap));
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancel, _page.Ending);
        try
        {
            _feed.FirstReader.Wait(either.Token);
        }
        catch (OperationCanceledException)
        {
            // The run ends before it began.
        }

        State("running", "");
        lock (_lock)
            (_view, _trace) = (view, trace);
    }

    /// <summary>The machine has ended and will be gone.</summary>
    /// <param name="how">How, for people.</param>
    public void Detach(string how)
    {
        lock (_lock)
        {
            if (_view is { } view)
                TellCounts(view);
            _view = null;
        }

        State("ended", how);
        Exits.Hurry();
    }

    /// <summary>Shows a recorded trace.</summary>
    /// <param name="name">Its name.</param>
    public void Replay(string name)
    {
        Exits.Hurry();
        _feed.PublishLast("about", LiveJson.Of(json =>
        {
            json.WriteStartObject();
            json.WriteString("mode", "replay");
            json.WriteString("name", name);
            json.WriteEndObject();
        }));
        State("ended", "a recorded trace");
    }

    /// <summary>Serves until a signal comes or the page asks for the end.</summary>
    /// <param name="what">As <see cref="LivePage.WaitForEnd"/>.</param>
    public void WaitForEnd(string? what = null) => _page.WaitForEnd(what);

    public void Dispose()
    {
        _finished.Set();
        _pump.Join();
        _feed.End();
        _page.Dispose();
        _finished.Dispose();
    }

    private void Pump()
    {
        for (long period = 0; !_finished.Wait(PeriodMs); period++)
            Tick(period);
        _console.TellTo(_feed);
    }

    private void Tick(long period)
    {
        _console.TellTo(_feed);
        lock (_lock)
        {
            if (_view is not { } view || _feed.Readers == 0)
                return;
            _feed.Publish("schedule", LiveJson.Of(json =>
            {
                json.WriteStartArray();
                view.WriteSchedule(json);
                json.WriteEndArray();
            }));
            if (period % PeriodsOfCounts == 0)
                TellCounts(view);
        }
    }

    private void TellCounts(MachineView view)
    {
        _bytes.ResetWrittenCount();
        view.WriteCounts(_bytes);
        _feed.PublishLast("counts", _bytes.WrittenSpan.TrimEnd((byte)'\n'));
        _feed.PublishLast("lost", LiveJson.Of(json => json.WriteNumberValue(_trace!.Lost)));
    }

    private Task<PageAnswer> Command(string name, JsonElement arguments, CancellationToken cancel) => Task.FromResult(Answer(name, arguments));

    private PageAnswer Answer(string name, JsonElement arguments)
    {
        int vcpu = LiveJson.Number(arguments, "vcpu", VmConfig.MaxCpus) ?? 0;
        lock (_lock)
        {
            if (_view is not { } view)
                return LiveJson.Refused("no guest runs");
            if (vcpu >= view.Vcpus)
                return LiveJson.Refused($"there is no vCPU {vcpu}");
            return name switch
            {
                "stop" => Changed("stopped", view.Stop()),
                "continue" => Changed("running", view.Continue()),
                "step" => LiveJson.Done(view.Step(vcpu)),
                "registers" => Told(json => view.WriteRegisters(json, vcpu)),
                "walk" when LiveJson.Address(arguments, "address") is { } address => Told(json => view.WriteWalk(json, vcpu, address)),
                "walk" => LiveJson.Refused("that is no address: up to 16 hexadecimal digits"),
                _ => LiveJson.Refused("there is no such command"),
            };
        }
    }

    private PageAnswer Changed(string state, string? refusal)
    {
        if (refusal is null)
            State(state, "");
        return LiveJson.Done(refusal);
    }

    private static PageAnswer Told(Func<Utf8JsonWriter, string?> write)
    {
        string? refusal = null;
        byte[] json = LiveJson.Of(writer =>
        {
            refusal = write(writer);
            if (writer.BytesCommitted + writer.BytesPending == 0)
                writer.WriteNullValue();
        });
        return refusal is null ? new PageAnswer(json) : LiveJson.Refused(refusal);
    }

    private void State(string state, string text) => _feed.PublishLast("state", LiveJson.Of(json =>
    {
        json.WriteStartObject();
        json.WriteString("state", state);
        json.WriteString("text", text);
        json.WriteEndObject();
    }));
}

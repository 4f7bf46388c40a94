using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using Kvm.Devices.Memory;
using Kvm.Devices.Net;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network;

/// <summary>
/// A cable to a TCP/IP stack in a process of its own: passt, a child that ends when its socket does, and so with this process whatever becomes of it. What the guest
/// sends is judged here first.
/// </summary>
internal sealed class PasstBackend : IWatchedBackend, ICountedBackend, INetworkListener
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);
    private static int _started;

    private readonly StreamBackend _stream;
    private readonly HostGuard _guard;
    private readonly string _log;
    private Action<string>? _notice;
    private INetworkListener? _listener;
    private long _refused;

    private PasstBackend(UnixSocket socket, HostGuard guard, string log)
    {
        (_stream, _guard, _log) = (new StreamBackend(socket), guard, log);
        _stream.Connect(this);
    }

    /// <inheritdoc/>
    public NetOffloads SendOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public NetOffloads ReceiveOffloads => NetOffloads.None;

    /// <inheritdoc/>
    public int MaxPairs => 1;

    /// <inheritdoc/>
    public IEnumerable<(string Name, long Value)> Counters => [("hostRefused", Volatile.Read(ref _refused))];

    /// <summary>The program's path, or null.</summary>
    public static string? FindProgram() =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Where(Path.IsPathFullyQualified).Select(d => Path.Combine(d, "passt")).FirstOrDefault(File.Exists);

    /// <summary>Starts the program and sees whether it answers.</summary>
    /// <param name="program">Its path.</param>
    /// <param name="folder">Where its log is meanwhile.</param>
    /// <param name="config">What the user asked for.</param>
    /// <param name="notice">Told when the program ends before this does.</param>
    /// <param name="why">Why there is none.</param>
    public static PasstBackend? TryStart(string program, string folder, NetConfig config, Action<string>? notice, out string why)
    {
        why = "";
        var plan = new UserNetwork();
        string log = Path.Combine(folder, string.Create(CultureInfo.InvariantCulture, $"passt-{Environment.ProcessId}-{Interlocked.Increment(ref _started)}.log"));
        var (ours, theirs) = UnixSocket.Pair();
        // The program names the host's nameserver to the guest by its own address; one on the loopback is the gateway's port 53.
        (ushort, bool)[] nameserver = HasLocalNameserver() ? [(53, true)] : [];
        var guard = new HostGuard(plan, config.AllowHost.Select(p => (p.Port, p.Udp)).Concat(nameserver), PublishedPort.Guarded(config.Publish), TimeProvider.System);
        var made = new PasstBackend(ours, guard, log);
        try
        {
            using (theirs)
                DetachedProcess.Start(program, Arguments(config, plan), log, theirs.Handle);
            if (made.Answers(plan))
            {
                made._notice = notice;
                return made;
            }

            why = $"passt could not start: {VisibleText.Quote(LastLine(log), 200)}";
        }
        catch (KvmException e)
        {
            why = $"passt could not start: {e.Message}";
        }

        made.Dispose();
        return null;
    }

    /// <inheritdoc/>
    public void WatchBy(int pair, IDescriptorWait wait) => _stream.WatchBy(pair, wait);

    /// <inheritdoc/>
    public void Connect(INetworkListener listener) => _listener = listener;

    /// <inheritdoc/>
    public void Configure(NetOffloads receive, int pairs)
    {
    }

    /// <inheritdoc/>
    public SendOutcome Send(int pair, ReadOnlySpan<HostBuffer> frame, int length)
    {
        if (_guard.Judge(frame[0].Span[NetHeader.Size..]) != GuardVerdict.Refused)
            return _stream.Send(pair, frame, length);
        Interlocked.Increment(ref _refused);
        return SendOutcome.Dropped;
    }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Peek(int pair)
    {
        var frame = _stream.Peek(pair);
        if (!frame.IsEmpty)
            _guard.Note(frame[NetHeader.Size..]);
        return frame;
    }

    /// <inheritdoc/>
    public void Take(int pair) => _stream.Take(pair);

    /// <inheritdoc/>
    public void Dispose()
    {
        _stream.Dispose();
        File.Delete(_log);
    }

    /// <inheritdoc/>
    void INetworkListener.FramesWaiting(int pair) => _listener?.FramesWaiting(pair);

    /// <inheritdoc/>
    void INetworkListener.RoomAgain(int pair) => _listener?.RoomAgain(pair);

    /// <inheritdoc/>
    void INetworkListener.LinkChanged(bool up)
    {
        _notice?.Invoke("passt has ended, and with it the guest's network");
        _listener?.LinkChanged(up);
    }

    private static List<string> Arguments(NetConfig config, UserNetwork plan)
    {
        static string Text(uint address) => new IPAddress(BinaryPrimitives.ReverseEndianness(address)).ToString();
        List<string> arguments =
        [
            "--foreground", "--fd", string.Create(CultureInfo.InvariantCulture, $"{DetachedProcess.InheritedDescriptor}"),
            "--address", Text(plan.Guest), "--netmask", Text(plan.Mask), "--gateway", Text(plan.Host),
            "--address", new IPAddress(config.GuestAddress6(plan)).ToString(), "--gateway", new IPAddress(plan.Address6(plan.Host6)).ToString(),
        ];
        if (config.Mtu != 0)
            arguments.AddRange(["--mtu", config.Mtu.ToString(CultureInfo.InvariantCulture)]);
        // A published port answers to the gateway's address, by which the host's loopback is known; so does a nameserver that is there.
        if (config.AllowHost.Count == 0 && config.Publish.Count == 0 && !HasLocalNameserver())
            arguments.Add("--no-map-gw");
        foreach (var port in config.Publish)
            arguments.AddRange([port.Udp ? "--udp-ports" : "--tcp-ports", string.Create(CultureInfo.InvariantCulture, $"{port.Address}/{port.HostPort}:{port.GuestPort}")]);
        return arguments;
    }

    private static bool HasLocalNameserver()
    {
        try
        {
            return File.ReadLines("/etc/resolv.conf").Select(l => l.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
                .Any(w => w is ["nameserver", var address, ..] && IPAddress.TryParse(address, out var ip) && IPAddress.IsLoopback(ip));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Asks who has the gateway's address (RFC 826) until somebody says so, or the program is gone.</summary>
    private bool Answers(UserNetwork plan)
    {
        using var question = new AlignedBuffer(NetHeader.Size + 42);
        var frame = question.Buffer.Span[NetHeader.Size..];
        MacAddress.Broadcast.Write(frame);
        new MacAddress(0x5254_0000_0001).Write(frame[6..]);
        ReadOnlySpan<byte> kind = [0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1];
        kind.CopyTo(frame[12..]);
        frame.Slice(6, MacAddress.Size).CopyTo(frame[22..]);
        BinaryPrimitives.WriteUInt32BigEndian(frame[28..], plan.Guest);
        BinaryPrimitives.WriteUInt32BigEndian(frame[38..], plan.Host);
        if (_stream.Send(0, [question.Buffer], question.Length) != SendOutcome.Sent)
            return false;
        Span<PollFd> readable = [new PollFd { Fd = _stream.Descriptor, Events = PollFd.POLLIN }];
        long began = Stopwatch.GetTimestamp();
        while (!_stream.IsGone && Stopwatch.GetElapsedTime(began) < s_patience)
        {
            var answer = _stream.Peek(0);
            if (answer.IsEmpty)
            {
                Descriptor.Poll(readable, 100);
                continue;
            }

            bool isIt = answer.Length >= NetHeader.Size + 42 && answer[NetHeader.Size + 12] == 8 && answer[NetHeader.Size + 13] == 6;
            _stream.Take(0);
            if (isIt)
                return true;
        }

        return false;
    }

    private static string LastLine(string log)
    {
        try
        {
            return File.ReadLines(log).LastOrDefault(l => l.Length > 0 && !l.StartsWith("Failed to send", StringComparison.Ordinal)) ?? "it said nothing";
        }
        catch (IOException e)
        {
            return e.Message;
        }
    }
}

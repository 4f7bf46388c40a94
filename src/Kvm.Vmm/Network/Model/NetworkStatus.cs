using System.Buffers;
using System.Text.Json;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Network.Model;

/// <summary>Who has an address of a network. Immutable.</summary>
/// <param name="Name">The machine's name; nothing where it has none.</param>
/// <param name="Mac">Its card's address.</param>
/// <param name="Address">Its IPv4 address.</param>
/// <param name="IsStatic">The network's description gives it.</param>
/// <param name="Left">For how long it has it; null for ever.</param>
/// <param name="IsAttached">It is at the switch now.</param>
public sealed record NetworkLease(string Name, string Mac, string Address, bool IsStatic, TimeSpan? Left, bool IsAttached);

/// <summary>
/// Tells whoever connects to a socket how a network that this process serves is: one document of JSON, and hangs up. Its thread sleeps until somebody asks; other users are sent away.
/// </summary>
public sealed class NetworkStatus : IDisposable
{
    private const int MostWaiting = 16, MostAnswerBytes = 4 << 20;
    private const ulong Bell = 0, Listener = 1;

    private readonly RunningNetwork _network;
    private readonly UnixListener _listener;
    private readonly EventFd _bell = new();
    private readonly Epoll _epoll = new();
    private readonly Thread _thread;
    private readonly Lock _gate = new();
    private UnixSocket? _client;
    private volatile bool _stop;

    private NetworkStatus(RunningNetwork network, UnixListener listener)
    {
        (_network, _listener) = (network, listener);
        _epoll.Add(_bell.Handle.Fd, EpollEvents.In, Bell);
        _epoll.Add(_listener.Handle.Fd, EpollEvents.In, Listener);
        _thread = new Thread(Main, maxStackSize: 256 << 10) { Name = "status", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Offers a socket, of mode 0600.</summary>
    /// <param name="network">The network, which outlives this.</param>
    /// <param name="path">The socket; one that nobody answers at is replaced.</param>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static NetworkStatus Serve(RunningNetwork network, string path)
    {
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            return new NetworkStatus(network, UnixListener.Open(path, MostWaiting));
        }
        catch (KvmException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    /// <summary>Asks at a socket.</summary>
    /// <returns>The document; null where nobody answers.</returns>
    public static JsonElement? Ask(string path)
    {
        if (UnixSocket.TryConnect(path, out var socket) != 0 || socket is null)
            return null;
        using (socket)
        {
            var answer = new ArrayBufferWriter<byte>();
            while (answer.WrittenCount < MostAnswerBytes && socket.Receive(answer.GetSpan(1 << 16), out var descriptor) is > 0 and var count)
            {
                descriptor?.Dispose();
                answer.Advance(count);
            }

            try
            {
                using var document = JsonDocument.Parse(answer.WrittenMemory);
                return document.RootElement.Clone();
            }
            catch (JsonException)
            {
                return null; // it ended meanwhile
            }
        }
    }

    /// <summary>Hangs up, and removes the socket.</summary>
    public void Dispose()
    {
        _stop = true;
        _bell.Signal();
        // Whoever does not read what it asked for does not keep this waiting.
        lock (_gate)
            _client?.Shutdown();
        _thread.Join();
        _listener.Dispose();
        _epoll.Dispose();
        _bell.Dispose();
    }

    private void Main()
    {
        Span<EpollEvent> events = new EpollEvent[2];
        while (!_stop)
        {
            _ = _epoll.Wait(events, -1);
            while (!_stop && _listener.TryAccept(out var client) && client is not null)
                Answer(client);
        }
    }

    private void Answer(UnixSocket client)
    {
        using (client)
        {
            lock (_gate)
                _client = client;
            if (client.HasTrustedPeer(out _) && !_stop)
            {
                ReadOnlySpan<byte> rest = Document();
                while (!rest.IsEmpty && client.Send(rest) is > 0 and var count)
                    rest = rest[count..];
            }

            lock (_gate)
                _client = null;
        }
    }

    private byte[] Document()
    {
        var text = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(text))
        {
            json.WriteStartObject();
            json.WriteString("name", _network.Model.Name);
            json.WriteStartArray("leases");
            foreach (var lease in _network.Leases)
            {
                json.WriteStartObject();
                json.WriteString("name", VisibleText.Escape(lease.Name));
                json.WriteString("mac", lease.Mac);
                json.WriteString("address", lease.Address);
                json.WriteBoolean("static", lease.IsStatic);
                if (lease.Left is { } left)
                    json.WriteNumber("secondsLeft", (long)left.TotalSeconds);
                else
                    json.WriteNull("secondsLeft");
                json.WriteBoolean("attached", lease.IsAttached);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartObject("counters");
            foreach (var (name, value) in _network.Counters)
                json.WriteNumber(name, value);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return text.WrittenSpan.ToArray();
    }
}

using System.Net;
using System.Net.Sockets;
using Kvm.Interop;
using Kvm.Vmm.Configuration;

namespace Kvm.Vmm.Debugging.Gdb;

/// <summary>
/// Waits for debuggers of one machine, at a port of 127.0.0.1 or a Unix socket of its owner's alone; one at a time, another one is sent away.
/// </summary>
public sealed class GdbServer : IDisposable
{
    private readonly VirtualMachine _machine;
    private readonly GdbEndpoint _endpoint;
    private readonly MonitorCommands _monitor;
    private readonly Action<string>? _notice;
    private readonly Socket _listener;
    private readonly UnixListener? _path;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Thread _thread;
    private readonly Lock _lock = new();
    private GdbConnection? _connection;
    private Thread? _serving;

    /// <summary>Begins to listen. Before <see cref="VirtualMachine.Start"/> where the guest is to wait (<see cref="GdbEndpoint.Wait"/>), else after it.</summary>
    /// <param name="machine">The machine; it outlives the server.</param>
    /// <param name="endpoint">Where, and how.</param>
    /// <param name="notice">Takes messages for people.</param>
    /// <exception cref="VmmException">The port or path cannot be had.</exception>
    public GdbServer(VirtualMachine machine, GdbEndpoint endpoint, Action<string>? notice)
    {
        ArgumentNullException.ThrowIfNull(machine);
        ArgumentNullException.ThrowIfNull(endpoint);
        _machine = machine;
        _endpoint = endpoint;
        _notice = notice;
        _monitor = new MonitorCommands(machine, notice);
        (_listener, _path) = Listen(endpoint);
        // Made now: a guest that is to wait does so from its first instruction on.
        if (machine.Debugger.IsStopped && machine.IsDeterministic && machine.Debugger.KeepHistory() is { } refusal)
            notice?.Invoke($"gdb: it cannot go backwards: {refusal}");
        _thread = new Thread(Accept, maxStackSize: 256 << 10) { Name = "gdb", IsBackground = true };
        _thread.Start();
        notice?.Invoke($"gdb: target remote {Address}");
    }

    /// <summary>What to give gdb's <c>target remote</c>.</summary>
    public string Address => _endpoint.Path ?? $"127.0.0.1:{((IPEndPoint)_listener.LocalEndPoint!).Port}";

    /// <inheritdoc/>
    /// <remarks>A debugger that is connected is hung up on. After the guest has ended, or before.</remarks>
    public void Dispose()
    {
        _stopping.Cancel();
        _thread.Join();
        Thread? serving;
        lock (_lock)
        {
            _connection?.HangUp();
            serving = _serving;
        }

        serving?.Join();
        _listener.Dispose();
        _path?.Dispose();
        _stopping.Dispose();
    }

    private static (Socket, UnixListener?) Listen(GdbEndpoint endpoint)
    {
        try
        {
            if (endpoint.Path is { } path)
            {
                var listener = UnixListener.Open(path, backlog: 4);
                var own = new Socket(new SafeSocketHandle(listener.Handle.Fd, ownsHandle: false));
                return (own, listener);
            }

            var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                socket.Bind(new IPEndPoint(IPAddress.Loopback, endpoint.Port));
                socket.Listen(4);
                return (socket, null);
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is SocketException or KvmException or ArgumentException)
        {
            string where = endpoint.Path is { } path ? VisibleText.Quote(path) : $"127.0.0.1:{endpoint.Port}";
            throw new VmmException(DebuggingErrors.NoListener, $"{where}: {e.Message}", e);
        }
    }

    private void Accept()
    {
        while (true)
        {
            Socket client;
            try
            {
                client = _listener.AcceptAsync(_stopping.Token).AsTask().GetAwaiter().GetResult();
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException)
            {
                // Gone again before it was taken, or no descriptor is left: the next one may have more luck.
                if (_stopping.Token.WaitHandle.WaitOne(100))
                    return;
                continue;
            }

            lock (_lock)
            {
                if (_connection is not null)
                {
                    _notice?.Invoke("gdb: a second debugger was sent away");
                    client.Dispose();
                    continue;
                }

                client.Blocking = true;
                if (_path is null)
                    client.NoDelay = true;
                _connection = new GdbConnection(client, NewSession());
                var connection = _connection;
                _serving = new Thread(() => Serve(connection), maxStackSize: 1 << 20) { Name = "gdb-session", IsBackground = true };
                _serving.Start();
            }
        }
    }

    private GdbSession NewSession() => new(_machine.Debugger, _monitor, _endpoint.Wide, () => _machine.Stop(Reporting.VmOutcome.StoppedByUser), EndCode);

    private void Serve(GdbConnection connection)
    {
        // A debugger finds a machine that stands still.
        _machine.Debugger.Stop();
        bool vanished = connection.Serve();
        if (vanished)
            connection.Abandon();
        lock (_lock)
            _connection = null;
        connection.Dispose();
    }

    /// <summary>The result is there a moment after the last vCPU has gone.</summary>
    private int EndCode() => _machine.Ended.Wait(TimeSpan.FromSeconds(5)) ? _machine.Ended.Result.ExitCode : 0;
}

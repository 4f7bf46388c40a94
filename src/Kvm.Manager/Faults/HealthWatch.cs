using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Kvm.Manager.Faults;

/// <summary>Asks a guest now and then whether it is there, from a task of its own. Says when that changes, on that task.</summary>
/// <param name="check">How it is asked.</param>
/// <param name="vsockPath">The Unix socket of the guest's sockets; null where it has none.</param>
/// <param name="isHeld">Whether the guest stands still, and cannot answer.</param>
/// <param name="changed">Told when it is healthy or unhealthy from now on, and why.</param>
/// <param name="time">The clock.</param>
internal sealed class HealthWatch(HealthCheck check, string? vsockPath, Func<bool> isHeld, Action<bool, string> changed, TimeProvider time) : IDisposable
{
    /// <summary>How long a connection that says nothing is looked at: what stands before a guest (a published port) hangs up where the guest refused.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(250);

    private const int MostAnswer = 32;

    private readonly CancellationTokenSource _stop = new();
    private Task? _task;

    /// <summary>Begins to ask.</summary>
    public void Start() => _task = Task.Run(WatchAsync);

    /// <summary>Asks no more, and says nothing after this. Not on the task itself.</summary>
    public void Dispose()
    {
        _stop.Cancel();
        _task?.GetAwaiter().GetResult();
        _stop.Dispose();
    }

    /// <summary>Asks once; null where the guest is there, else why it is not.</summary>
    internal static async Task<string?> AskAsync(HealthCheck check, string? vsockPath, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(check.Timeout);
        try
        {
            return check.Address is null ? await AskVsockAsync(check, vsockPath, limit.Token).ConfigureAwait(false) : await AskTcpAsync(check, check.Address, limit.Token).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode == SocketError.ConnectionRefused ? "nobody listens" : e.SocketErrorCode.ToString();
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return "no answer in time";
        }
    }

    private async Task WatchAsync()
    {
        bool? healthy = null;
        int failures = 0;
        long began = time.GetTimestamp();
        try
        {
            while (true)
            {
                await Task.Delay(check.Interval, time, _stop.Token).ConfigureAwait(false);
                // One that stands still cannot answer, nor can one that was made to meanwhile.
                if (isHeld() || await AskAsync(check, vsockPath, _stop.Token).ConfigureAwait(false) is var why && isHeld())
                    continue;
                if (why is null)
                {
                    failures = 0;
                    if (healthy != true)
                        changed(true, check.Address is null ? "its vsock port answers" : "its port answers");
                    healthy = true;
                    continue;
                }

                bool stillStarts = healthy is null && time.GetElapsedTime(began) < check.Start;
                failures = stillStarts ? 0 : failures + 1;
                if (failures != check.Failures)
                    continue;
                healthy = false;
                changed(false, $"{failures} questions in a row: {why}");
            }
        }
        catch (OperationCanceledException)
        {
            // It is to end.
        }
    }

    /// <summary>Firecracker's way: <c>CONNECT PORT</c>, and <c>OK</c> where a program of the guest has taken the connection.</summary>
    private static async Task<string?> AskVsockAsync(HealthCheck check, string? path, CancellationToken cancel)
    {
        if (path is null)
            return "it has no vsock";
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"CONNECT {check.Port}\n"), cancel).ConfigureAwait(false);
        byte[] answer = new byte[MostAnswer];
        int count = await socket.ReceiveAsync(answer, cancel).ConfigureAwait(false);
        return answer.AsSpan(0, count).StartsWith("OK"u8) ? null : "nobody listens";
    }

    private static async Task<string?> AskTcpAsync(HealthCheck check, IPAddress address, CancellationToken cancel)
    {
        using var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(new IPEndPoint(address, (int)check.Port), cancel).ConfigureAwait(false);
        using var look = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        look.CancelAfter(s_look);
        try
        {
            return await socket.ReceiveAsync(new byte[1], look.Token).ConfigureAwait(false) > 0 ? null : "the connection was closed at once";
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return null;
        }
    }
}

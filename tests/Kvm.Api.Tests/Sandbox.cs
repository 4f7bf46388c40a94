using System.Net.Sockets;
using System.Text;

[assembly: System.Runtime.Versioning.SupportedOSPlatform("linux")]

namespace Kvm.Api.Tests;

/// <summary>A folder of its own with a socket's path in it, and clients of what listens there.</summary>
internal sealed class Sandbox : IDisposable
{
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly List<IDisposable> _made = [];

    public string Folder { get; } = Directory.CreateTempSubdirectory("kvm-api-").FullName;

    public string SocketPath => Path.Combine(Folder, "api.sock");

    /// <summary>Disposed with this, last one first.</summary>
    public T Own<T>(T made)
        where T : IDisposable
    {
        _made.Add(made);
        return made;
    }

    /// <summary>A client of the socket.</summary>
    public HttpClient Client() => Own(new HttpClient(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancel) => new NetworkStream(await Connect(cancel), ownsSocket: true),
    })
    { BaseAddress = new Uri("http://localhost"), Timeout = Patience });

    /// <summary>Bytes as they are: what comes back until the server hangs up.</summary>
    public async Task<string> Raw(string request)
    {
        using var patience = new CancellationTokenSource(Patience);
        using var socket = await Connect(patience.Token);
        await socket.SendAsync(Encoding.Latin1.GetBytes(request), patience.Token);
        return await ReadAll(socket, patience.Token);
    }

    public static async Task<string> ReadAll(Socket socket, CancellationToken cancel)
    {
        var answer = new StringBuilder();
        byte[] buffer = new byte[4096];
        try
        {
            int count;
            while ((count = await socket.ReceiveAsync(buffer, cancel)) > 0)
                answer.Append(Encoding.UTF8.GetString(buffer, 0, count));
        }
        catch (SocketException)
        {
            // Hung up on with something unread: what came before was read.
        }

        return answer.ToString();
    }

    public async Task<Socket> Connect(CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(SocketPath), cancel);
        return socket;
    }

    public void Dispose()
    {
        for (int i = _made.Count - 1; i >= 0; i--)
            _made[i].Dispose();
        Directory.Delete(Folder, recursive: true);
    }
}

using System.Buffers.Binary;
using System.Net.Sockets;
using Kvm.Vmm.Agent;

namespace Kvm.Vmm.Tests.Agent;

/// <summary>A socket at which clients are told what a test says, in place of a guest's.</summary>
internal sealed class FakeAgent : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public FakeAgent()
    {
        Folder = Directory.CreateTempSubdirectory("kvmsharp-agent").FullName;
        _listener.Bind(new UnixDomainSocketEndPoint(Path));
        _listener.Listen();
    }

    /// <summary>A folder that is removed at the end.</summary>
    public string Folder { get; }

    /// <summary>The socket's path.</summary>
    public string Path => System.IO.Path.Combine(Folder, "v");

    /// <summary>The greeting of an agent of this version.</summary>
    public static byte[] Hello => Frame(AgentFrame.Hello, AgentProtocol.Hello());

    /// <summary>A program has started, number 7, with so much room for its input.</summary>
    public static byte[] Started(uint room = 65536) => Frame(AgentFrame.Started, AgentProtocol.OfPair(7, room));

    /// <summary>A frame.</summary>
    public static byte[] Frame(AgentFrame kind, params byte[] payload)
    {
        byte[] frame = new byte[8 + payload.Length];
        BinaryPrimitives.WriteInt32LittleEndian(frame, payload.Length);
        frame[4] = (byte)kind;
        payload.CopyTo(frame, 8);
        return frame;
    }

    /// <summary>A file, folder or link.</summary>
    public static byte[] Node(byte kind, string name, string target = "", uint mode = 0x1a4)
    {
        byte[] text = System.Text.Encoding.UTF8.GetBytes(name), rest = System.Text.Encoding.UTF8.GetBytes(target);
        byte[] payload = new byte[24 + text.Length + rest.Length];
        payload[0] = kind;
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(4), mode);
        BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(20), text.Length);
        text.CopyTo(payload, 24);
        rest.CopyTo(payload, 24 + text.Length);
        return Frame(AgentFrame.Node, payload);
    }

    /// <summary>Takes one client, says these bytes once it has asked, and goes on as is said.</summary>
    public Task ServeAsync(byte[] answer, Func<Socket, Task>? then = null) => Task.Run(async () =>
    {
        using var client = await _listener.AcceptAsync();
        byte[] asked = new byte[65536];
        // What it asks comes in one piece: all of it was sent before the first answer.
        await client.ReceiveAsync(asked);
        for (var rest = answer.AsMemory(); !rest.IsEmpty;)
            rest = rest[await client.SendAsync(rest)..];
        if (then is not null)
            await then(client);
    });

    /// <summary>Keeps the connection until the client hangs up.</summary>
    public static async Task UntilHungUpAsync(Socket client)
    {
        byte[] more = new byte[65536];
        try
        {
            while (await client.ReceiveAsync(more) > 0)
            {
            }
        }
        catch (SocketException)
        {
        }
    }

    public void Dispose()
    {
        _listener.Dispose();
        Directory.Delete(Folder, recursive: true);
    }
}

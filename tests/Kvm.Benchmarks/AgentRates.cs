using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Kvm.Vmm.Agent;

namespace Kvm.Benchmarks;

/// <summary>What a running guest's agent takes: answers, programs, bytes both ways. The guest is another process's (scripts/bench agent).</summary>
internal static class AgentRates
{
    private const int Megabytes = 256, Pings = 2000, Programs = 100;

    /// <summary>Prints a word and a number a line.</summary>
    /// <param name="socket">The guest's socket.</param>
    /// <param name="process">The number of the process that runs it.</param>
    public static void Print(string socket, string process) => PrintAsync(socket, int.Parse(process, CultureInfo.InvariantCulture)).GetAwaiter().GetResult();

    private static async Task PrintAsync(string socket, int process)
    {
        Say("share-us", await ShareAsync());
        await using var client = await AgentClient.ConnectAsync(socket, TimeSpan.FromMinutes(2));
        Say("ping-us", await MedianAsync(Pings, () => client.PingAsync()));
        var program = new AgentCommand("/bin/true");
        Say("exec-us", await MedianAsync(Programs, () => client.ExecAsync(program)));
        Say("many-ms", await TimeAsync(() => Task.WhenAll(Enumerable.Range(0, 300).Select(_ => client.ExecAsync(program)))) / 1000);
        string zeros = Path.GetTempFileName();
        try
        {
            using (var file = File.OpenWrite(zeros))
                file.SetLength((long)Megabytes << 20);
            await client.ExecAsync("truncate", "-s", $"{Megabytes}M", "/tmp/zeros");
            await client.CopyToAsync(zeros, "/dev/null");
            await client.CopyFromAsync("/tmp/zeros", "/dev/null");
            long before = Resident(process);
            Say("to-guest-MiB/s", Megabytes / await TimeAsync(() => client.CopyToAsync(zeros, "/dev/null")) * 1e6);
            Say("from-guest-MiB/s", Megabytes / await TimeAsync(() => client.CopyFromAsync("/tmp/zeros", "/dev/null")) * 1e6);
            var reads = new AgentCommand("sh", "-c", "cat > /dev/null");
            using var input = File.OpenRead(zeros);
            Say("exec-to-guest-MiB/s", Megabytes / await TimeAsync(() => client.RunAsync(reads, input, null, null)) * 1e6);
            Say("exec-from-guest-MiB/s", Megabytes / await TimeAsync(() => client.RunAsync(new AgentCommand("cat", "/tmp/zeros"), null, Stream.Null, null)) * 1e6);
            Say("grown-MiB", (Resident(process) - before) / 1024.0);
        }
        finally
        {
            File.Delete(zeros);
        }
    }

    /// <summary>
    /// Our share of an exec: from the guest's last frame, handed to the host's socket by a fake of the device as the device does, to the completed task, in µs.
    /// </summary>
    private static async Task<double> ShareAsync()
    {
        string folder = Directory.CreateTempSubdirectory("kvmsharp-bench").FullName, path = Path.Combine(folder, "v");
        byte[] started = [.. "OK 1\n"u8, 8, 0, 0, 0, 1, 0, 0, 0, .. "KVMA"u8, 1, 0, 1, 0, 8, 0, 0, 0, 22, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0], ended = [8, 0, 0, 0, 25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        double[] all = new double[Pings];
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        long sent = 0;
        var fake = new Thread(() =>
        {
            byte[] asked = new byte[4096];
            for (int i = 0; i < Pings + 1; i++)
            {
                using var one = listener.Accept();
                one.Receive(asked);
                one.Send(i == 0 ? [.. started[..21], 0, 0, 0, 0, 2, 0, 0, 0] : started);
                // The task has taken the start, and waits for the end.
                if (i > 0 && one.Receive(asked) > 0)
                {
                    Volatile.Write(ref sent, Stopwatch.GetTimestamp());
                    one.Send(ended);
                }

                while (i > 0 && one.Receive(asked) > 0)
                {
                }
            }
        })
        { IsBackground = true };
        fake.Start();
        await using var client = await AgentClient.ConnectAsync(path, TimeSpan.FromSeconds(10));
        for (int i = 0; i < Pings; i++)
        {
            await using var process = await client.StartAsync(new AgentCommand("true"));
            await process.SignalAsync(1);
            await process.Ended;
            all[i] = Stopwatch.GetElapsedTime(Volatile.Read(ref sent)).TotalMicroseconds;
        }

        Directory.Delete(folder, recursive: true);
        Array.Sort(all);
        return all[Pings / 2];
    }

    private static async Task<double> MedianAsync(int times, Func<Task> action)
    {
        for (int i = 0; i < times / 5; i++)
            await action();
        double[] all = new double[times];
        for (int i = 0; i < times; i++)
            all[i] = await TimeAsync(action);
        Array.Sort(all);
        return all[times / 2];
    }

    /// <summary>In µs.</summary>
    private static async Task<double> TimeAsync(Func<Task> action)
    {
        long start = Stopwatch.GetTimestamp();
        await action();
        return Stopwatch.GetElapsedTime(start).TotalMicroseconds;
    }

    /// <summary>In KiB.</summary>
    private static long Resident(int process) =>
        long.Parse(File.ReadLines($"/proc/{process}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);

    private static void Say(string what, double value) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what} {value:0.#}"));
}

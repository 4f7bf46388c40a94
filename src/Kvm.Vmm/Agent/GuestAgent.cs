namespace Kvm.Vmm.Agent;

/// <summary>The agent itself: a static program for Linux on x86-64 that needs no library, to be put into a guest.</summary>
public static class GuestAgent
{
    /// <summary>The program's bytes, an ELF file.</summary>
    /// <exception cref="AgentException">This build was made without it (<see cref="AgentErrors.NotBuiltIn"/>).</exception>
    public static byte[] Program()
    {
        using var resource = typeof(GuestAgent).Assembly.GetManifestResourceStream("kvmsharp-agent")
            ?? throw new AgentException(AgentErrors.NotBuiltIn, "it is made by gcc from guest/agent");
        byte[] bytes = new byte[resource.Length];
        resource.ReadExactly(bytes);
        return bytes;
    }
}
